"""The images of a built dataset with the 14 targets of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from radialog_instruct.build.manifest import read_manifest
from radialog_instruct.errors import DataError
from radialog_instruct.findings import binarise
from radialog_instruct.sources.images import load_image


@dataclass(frozen=True)
class LabelledImages:
    """Every image of a split once, all views, ordered by path.

    Attributes:
        paths: One path an image, relative to the image root.
        targets: [n, 14] of zeros and ones in project order; uncertain and blank are 0.
        unlabelled: Images left out because their studies carry no labels.
    """

    paths: tuple[str, ...]
    targets: Tensor
    unlabelled: int = 0


def labelled_images(dataset: Path, split: str) -> LabelledImages:
    """Collect the labelled images of a split from the rows of all tasks.

    Args:
        dataset: A dataset built by ``radialog-instruct build``.
        split: ``train``, ``validation`` or ``test``.

    Raises:
        DataError: If the folder holds no such dataset, no labelled image, or two labels of one image.
    """
    labels: dict[str, tuple[int | None, ...]] = {}
    bare: set[str] = set()
    for file, path, values in _rows(dataset, split):
        if values is None:
            bare.add(path)
        elif labels.setdefault(path, tuple(values)) != tuple(values):
            raise DataError(f"{path} has two different labels", where=str(file), mend="build the dataset again")
    if not labels:
        mend = "build it with labels, for a split that it has"
        raise DataError(f"no labelled image in the split {split}", where=str(dataset), mend=mend)
    order = sorted(labels)
    targets = torch.tensor([binarise(labels[path]) for path in order]).float()  # type: ignore[arg-type]
    return LabelledImages(tuple(order), targets, len(bare - set(labels)))


def all_images(dataset: Path, split: str) -> list[str]:
    """Return the path of every image of a split once, labelled or not, in order.

    Raises:
        DataError: If the folder holds no built dataset.
    """
    return sorted({path for _, path, _ in _rows(dataset, split)})


def _rows(dataset: Path, split: str) -> Iterator[tuple[Path, str, list[int | None] | None]]:
    """Yield file, image path and labels of each row with an image."""
    import pyarrow.parquet as pq

    if read_manifest(dataset) is None:
        raise DataError("no built dataset here", where=str(dataset), mend="run radialog-instruct build first")
    for file in sorted(dataset.glob(f"*/{split}-*.parquet")):
        table = pq.read_table(file, columns=["image_paths", "finding_labels"])
        for paths, values in zip(table["image_paths"].to_pylist(), table["finding_labels"].to_pylist(), strict=True):
            for path in paths or ():
                yield file, path, values


def check_files(images: LabelledImages, root: Path) -> None:
    """Check that every image is there.

    Raises:
        DataError: If one is missing.
    """
    missing = [path for path in images.paths if not (root / path).is_file()]
    if missing:
        mend = "give their folder with --image-root, or build with --images require"
        raise DataError(f"{len(missing)} images are missing", where=str(root / missing[0]), mend=mend)


def pos_weight(targets: Tensor) -> Tensor:
    """Return log(N / count) of each class, the paper's weight of its positives; 1 where a class has none.

    Args:
        targets: [n, 14] of zeros and ones.

    Returns:
        [14].
    """
    counts = targets.sum(0)
    return torch.where(counts > 0, torch.log(len(targets) / counts.clamp(min=1)), torch.ones_like(counts))


class PixelDataset(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Images as the extractor's image processor gives them, with their targets.

    Args:
        images: The images.
        root: Folder their paths are relative to.
        image_processor: The image processor.
    """

    def __init__(self, images: LabelledImages, root: Path, image_processor: Any) -> None:
        self.images, self._root, self._processor = images, root, image_processor

    def __len__(self) -> int:
        return len(self.images.paths)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        image = load_image(self._root / self.images.paths[index])
        pixels: Tensor = self._processor(images=image, return_tensors="pt")["pixel_values"][0]
        return {"pixel_values": pixels, "labels": self.images.targets[index]}


class FeatureDataset(torch.utils.data.Dataset[dict[str, Tensor]]):
    """What a frozen backbone makes of the images, computed once.

    Args:
        features: [n, dim].
        targets: [n, 14].
    """

    def __init__(self, features: Tensor, targets: Tensor) -> None:
        self._features, self._targets = features, targets

    def __len__(self) -> int:
        return len(self._features)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"features": self._features[index], "labels": self._targets[index]}

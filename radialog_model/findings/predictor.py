"""What a checkpoint's findings extractor is, whether a head on its tower or a model of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from PIL import Image
from torch import Tensor

from radialog_instruct.findings import findings_text


class FindingsPredictor(Protocol):
    """Predicts the 14 findings of images, in project order."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that the predictions depend on: weights, preprocessing, thresholds."""
        ...

    @property
    def thresholds(self) -> Mapping[str, float]:
        """The threshold of each class by its name."""
        ...

    def probabilities(self, images: Sequence[Image.Image]) -> Tensor:
        """Return [n, 14] probabilities in project order, on the CPU.

        Args:
            images: As ``radialog_instruct.sources.images.load_image`` gives them.
        """
        ...

    def decide(self, probabilities: Tensor) -> list[tuple[str, ...]]:
        """Return the classes that count as present for each row of [n, 14] probabilities."""
        ...

    def texts(self, images: Sequence[Image.Image]) -> list[str]:
        """Return the findings text of each image, as it stands in the prompt."""
        return [findings_text(names) for names in self.decide(self.probabilities(images))]

    def save(self, checkpoint: Path) -> None:
        """Write it as part of a checkpoint folder."""
        ...

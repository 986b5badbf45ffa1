"""A trained extractor with its image processor: loaded, asked, saved."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import AutoImageProcessor
from transformers.utils.logging import disable_progress_bar

from radialog_instruct.errors import ModelError
from radialog_instruct.findings import FINDINGS
from radialog_model.export.folder import EXTRACTOR, into_place
from radialog_model.findings.model import FindingsConfig, FindingsModel
from radialog_model.findings.predictor import FindingsPredictor
from radialog_model.findings.thresholds import present, project_order, threshold_tensor

FOLDER = EXTRACTOR
"""Where a stand-alone extractor lies in the folder of a checkpoint."""
NOTICES = "radialog.json"


@dataclass(frozen=True)
class FindingsExtractor(FindingsPredictor):
    """A stand-alone extractor.

    Args:
        model: The model, in evaluation mode.
        image_processor: Its image processor.
        notices: What a reader of its predictions must know.
        training: How it was trained.
    """

    model: FindingsModel
    image_processor: Any
    notices: tuple[str, ...] = ()
    training: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> FindingsExtractor:
        """Read an extractor from its folder; it computes in 32 bits everywhere.

        Raises:
            ModelError: If it cannot be read, lacks weights, or its classes are not the 14.
        """
        disable_progress_bar()
        try:
            config = FindingsConfig.from_pretrained(folder)
            project_order(config.classes)
            threshold_tensor(config.thresholds or {})
            loaded: Any = FindingsModel.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
            model, report = loaded
            lost = sorted(report["missing_keys"]) or sorted(report["unexpected_keys"])
            if lost:
                raise ValueError(f"the weights do not fit the configuration: {lost[0]}")
            processor = AutoImageProcessor.from_pretrained(folder)
            path = folder / NOTICES
            described = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        except (OSError, ValueError, LookupError, RuntimeError) as error:
            first = str(error).strip().splitlines()[0]
            raise ModelError(f"the findings extractor cannot be loaded ({first})", where=str(folder)) from error
        notices = tuple(described.get("notices", ()))
        return cls(model.to(device).eval(), processor, notices, described.get("training", {}))

    @property
    def thresholds(self) -> dict[str, float]:
        """The threshold of each class by its name."""
        return dict(zip(FINDINGS, threshold_tensor(self.model.config.thresholds or {}).tolist(), strict=True))

    @property
    def fingerprint(self) -> str:
        """SHA-256 over weights, buffers, classes, thresholds and preprocessing."""
        config: FindingsConfig = self.model.config
        settings = [list(config.classes), config.thresholds, config.head, self.image_processor.to_dict()]
        hasher = sha256(json.dumps(settings, sort_keys=True, default=str).encode())
        for name, value in sorted(self.model.state_dict().items()):
            hasher.update(name.encode())
            hasher.update(value.detach().cpu().contiguous().numpy().tobytes())
        return hasher.hexdigest()

    @torch.no_grad()
    def probabilities(self, images: Sequence[Image.Image]) -> Tensor:
        """Return [n, 14] probabilities in project order, on the CPU."""
        pixels = self.image_processor(images=list(images), return_tensors="pt")["pixel_values"]
        logits = self.model(pixels.to(self.model.device)).logits.float().cpu()
        return torch.sigmoid(logits[:, project_order(self.model.config.classes)])

    def decide(self, probabilities: Tensor) -> list[tuple[str, ...]]:
        """Return the classes that count as present for each row of [n, 14] probabilities."""
        thresholds = threshold_tensor(self.model.config.thresholds or {})
        return [present(row, thresholds) for row in probabilities]

    def save(self, checkpoint: Path) -> None:
        """Write it into the subfolder of a checkpoint."""
        self.save_pretrained(checkpoint / FOLDER)

    def save_pretrained(self, folder: Path) -> None:
        """Write it as a folder of its own, weights in 32 bits; an older model there makes way once it is written.

        Raises:
            UsageError: If the folder cannot be written.
        """
        disable_progress_bar()
        described = {"notices": list(self.notices), "training": self.training}
        with into_place(folder) as written:
            self.model.save_pretrained(written)
            self.image_processor.save_pretrained(written)
            (written / NOTICES).write_text(json.dumps(described, indent=2, sort_keys=True) + "\n", encoding="utf-8")

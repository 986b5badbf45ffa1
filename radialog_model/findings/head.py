"""The findings head: 14 probabilities from the pooled tower, without an image encoder of its own.

It stands in for the paper's structured findings extractor: one linear layer on the mean of the patch features, with a
threshold for each class that was tuned on the validation split.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from radialog_instruct.errors import ModelError
from radialog_instruct.findings import FINDINGS
from radialog_model.biovil import BioViLTModel
from radialog_model.findings.predictor import FindingsPredictor
from radialog_model.findings.thresholds import HALF, names_above, project_order

WEIGHTS, SETTINGS = "findings_head.safetensors", "findings_head.json"


class FindingsHead(nn.Module):
    """Linear layer over pooled features.

    Args:
        dim: Channels of the tower's patch features.
    """

    thresholds: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, len(FINDINGS))
        self.register_buffer("thresholds", torch.full((len(FINDINGS),), HALF))

    def forward(self, patch_features: Tensor) -> Tensor:
        """Return logits.

        Args:
            patch_features: [batch, dim, height, width].

        Returns:
            [batch, 14].
        """
        logits: Tensor = self.linear(patch_features.mean((2, 3)))
        return logits

    def save(self, checkpoint: Path) -> None:
        """Write weights and class names beside a checkpoint."""
        state = {name: value.contiguous().half() for name, value in self.state_dict().items()}
        save_file(state, checkpoint / WEIGHTS)
        settings = {"classes": list(FINDINGS), "input": "mean of the tower's patch features"}
        (checkpoint / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n")

    @classmethod
    def load(cls, checkpoint: Path) -> FindingsHead | None:
        """Read a head, or return None where a checkpoint has none; its classes go by name, whatever their order.

        Raises:
            ModelError: If a class is unknown or missing, or its tensors do not fit.
        """
        if not (checkpoint / WEIGHTS).is_file():
            return None
        try:
            order = project_order(json.loads((checkpoint / SETTINGS).read_text())["classes"])
            state = {name: value.float()[order] for name, value in load_file(checkpoint / WEIGHTS).items()}
            head = cls(state["linear.weight"].shape[1])
            head.load_state_dict(state)
        except (OSError, ValueError, LookupError, RuntimeError) as error:
            raise ModelError(f"the findings head cannot be read ({error})", where=str(checkpoint / WEIGHTS)) from error
        return head.eval()


@dataclass(frozen=True)
class TowerFindings(FindingsPredictor):
    """A findings head together with the tower it reads.

    Where no class reaches its threshold it says "No Finding", as it was tuned to.

    Args:
        head: The head.
        tower: The tower of the same checkpoint.
        image_processor: The image processor of the same checkpoint.
        weights: SHA-256 over the checkpoint's weight files, which hold the thresholds.
    """

    head: FindingsHead
    tower: BioViLTModel
    image_processor: Any
    weights: str

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that the predictions depend on."""
        return self.weights

    @property
    def thresholds(self) -> dict[str, float]:
        """The threshold of each class by its name."""
        return dict(zip(FINDINGS, self.head.thresholds.tolist(), strict=True))

    @torch.no_grad()
    def probabilities(self, images: Sequence[Image.Image]) -> Tensor:
        """Return [n, 14] probabilities in project order, on the CPU."""
        pixels = self.image_processor(images=list(images), return_tensors="pt")["pixel_values"]
        features = self.tower.patch_features(pixels.to(self.tower.device))
        return torch.sigmoid(self.head(features.float().cpu()))

    def decide(self, probabilities: Tensor) -> list[tuple[str, ...]]:
        """Return the classes that count as present for each row of [n, 14] probabilities."""
        return [tuple(names_above(row, self.head.thresholds)) for row in probabilities]

    def save(self, checkpoint: Path) -> None:
        """Write the head beside a checkpoint; the tower is part of the checkpoint itself."""
        self.head.save(checkpoint)

"""The findings head: 14 probabilities from the pooled tower, which become the findings text of the prompt.

It stands in for the paper's structured findings extractor: one linear layer on the mean of the patch features, with a
threshold for each class that was tuned on the validation split.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from radialog_instruct.errors import ModelError
from radialog_instruct.findings import FINDINGS, findings_text
from radialog_model.biovil import BioViLTModel
from radialog_model.findings.thresholds import names_above

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
        self.register_buffer("thresholds", torch.full((len(FINDINGS),), 0.5))

    def forward(self, patch_features: Tensor) -> Tensor:
        """Return logits.

        Args:
            patch_features: [batch, dim, height, width].

        Returns:
            [batch, 14].
        """
        logits: Tensor = self.linear(patch_features.mean((2, 3)))
        return logits

    @torch.no_grad()
    def predict(self, tower: BioViLTModel, pixel_values: Tensor) -> list[str]:
        """Return the findings text of each image.

        Args:
            tower: The tower.
            pixel_values: [batch, 3, image_size, image_size] in 0..1.
        """
        probabilities = torch.sigmoid(self(tower.patch_features(pixel_values).float()))
        return [findings_text(names_above(row, self.thresholds)) for row in probabilities]

    def save(self, folder: Path) -> None:
        """Write weights and class names beside a checkpoint."""
        state = {name: value.contiguous().half() for name, value in self.state_dict().items()}
        save_file(state, folder / WEIGHTS)
        settings = {"classes": list(FINDINGS), "input": "mean of the tower's patch features"}
        (folder / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path) -> FindingsHead | None:
        """Read a head, or return None where a checkpoint has none.

        Raises:
            ModelError: If its classes are in another order, or its tensors do not fit.
        """
        if not (folder / WEIGHTS).is_file():
            return None
        try:
            classes = json.loads((folder / SETTINGS).read_text())["classes"]
            state = {name: value.float() for name, value in load_file(folder / WEIGHTS).items()}
            head = cls(state["linear.weight"].shape[1])
            head.load_state_dict(state)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise ModelError(f"the findings head cannot be read ({error})", where=str(folder / WEIGHTS)) from error
        if tuple(classes) != FINDINGS:
            raise ModelError("the findings head has other classes", where=str(folder / SETTINGS))
        return head.eval()

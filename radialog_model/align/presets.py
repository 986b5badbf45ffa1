"""Sizes of the first stage: the paper's, and one for tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from radialog_instruct.errors import UsageError
from radialog_model.biovil import BioViLTConfig


@dataclass(frozen=True)
class AlignPreset:
    """Sizes of tower and query transformer.

    Attributes:
        tower: Shape of the tower, where no trained one is given.
        layers: Fields of ``Blip2QFormerConfig`` that differ from BERT-base, where no BERT is given.
        queries: Learned queries.
        projection_dim: Width in which images and texts are compared.
        max_text_length: Tokens of a report.
    """

    tower: BioViLTConfig
    layers: dict[str, Any] = field(default_factory=dict)
    queries: int = 32
    projection_dim: int = 256
    max_text_length: int = 256


def align_presets() -> dict[str, AlignPreset]:
    """Return the presets by name."""
    tiny_tower = BioViLTConfig(
        depths=(1, 1, 1, 1),
        widths=(8, 16, 24, 32),
        stem_width=8,
        projection_dim=32,
        hidden_size=64,
        image_size=64,
        freeze_batchnorm=False,
    )
    tiny_layers = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
    return {
        "align-biovilt": AlignPreset(BioViLTConfig()),
        "align-tiny": AlignPreset(tiny_tower, tiny_layers, projection_dim=32, max_text_length=64),
    }


def align_preset_named(name: str) -> AlignPreset:
    """Return a preset.

    Raises:
        UsageError: If there is none of that name.
    """
    known = align_presets()
    if name not in known:
        raise UsageError(f"no preset {name!r}", mend=f"choose from: {', '.join(known)}")
    return known[name]

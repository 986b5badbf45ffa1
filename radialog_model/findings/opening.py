"""Opening whatever predicts findings: an extractor's folder, or a checkpoint that has one."""

from __future__ import annotations

import json
from pathlib import Path

from radialog_instruct.errors import ModelError
from radialog_model.checkpoint import checkpoint_folder, load_checkpoint
from radialog_model.findings.extractor import FindingsExtractor
from radialog_model.findings.model import FindingsConfig
from radialog_model.findings.predictor import FindingsPredictor


def open_predictor(weights: str | Path | None = None, *, device: str = "cpu") -> FindingsPredictor:
    """Open a predictor.

    Args:
        weights: Folder or Hub repository of an extractor or of a checkpoint; the demonstration weights by default.
        device: Where it computes.

    Raises:
        ModelError: If it cannot be loaded, or the checkpoint has no findings extractor.
    """
    folder = checkpoint_folder(weights)
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError) as error:
        raise ModelError(f"config.json cannot be read ({error})", where=str(folder)) from error
    if kind == FindingsConfig.model_type:
        return FindingsExtractor.load(folder, device=device)
    predictor = load_checkpoint(folder, device=device).findings
    if predictor is None:
        mend = "train one with radialog-model findings train"
        raise ModelError("the checkpoint has no findings extractor", where=str(folder), mend=mend)
    return predictor

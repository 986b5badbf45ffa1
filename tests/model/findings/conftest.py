"""One tiny extractor, trained once for the tests of this folder, and one with scrambled buffers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from radialog_instruct.assets import demo_dir
from radialog_model.biovil import BioViLTConfig
from radialog_model.findings import FindingsConfig, FindingsExtractor, FindingsModel
from radialog_model.findings.backbone import _sized
from radialog_model.findings.config import load_findings_config
from radialog_model.findings.train import train_findings

TINY = {"depths": (1, 1, 1, 1), "widths": (8, 16, 24, 32), "stem_width": 8, "projection_dim": 16, "hidden_size": 32}


@pytest.fixture(scope="session")
def extractor_folder(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("findings") / "extractor"
    train_findings(load_findings_config("tiny", thresholds="tuned"), dataset, out, demo_dir(), lambda line: None)
    return out


def scrambled(head: str = "linear", backbone: object = None, **options: object) -> FindingsExtractor:
    """An untrained extractor whose answers differ between images and whose BatchNorm buffers are not the defaults."""
    torch.manual_seed(0)
    backbone = backbone or BioViLTConfig(**TINY, image_size=64)
    model = FindingsModel(FindingsConfig(backbone_config=backbone, head=head, **options))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.3, 0.3)
            module.running_var.uniform_(0.5, 2)
    return FindingsExtractor(model.train(False), _sized(73, 64))

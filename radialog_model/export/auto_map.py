"""Modelling code that travels with the weights, for users who have transformers and not this package."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

from radialog_instruct.errors import UsageError
from radialog_model import biovil

TOWER_CODE, MODEL_CODE = "modeling_biovil_t.py", "modeling_radialog.py"
_MODEL_SOURCE = '''"""A stock LLaVA whose image tower is BioViL-T; importing this file registers the tower."""

from transformers import CONFIG_MAPPING, AutoConfig, AutoModel, LlavaConfig, LlavaForConditionalGeneration, LlavaModel

from .modeling_biovil_t import BioViLTConfig, BioViLTModel

if BioViLTConfig.model_type not in CONFIG_MAPPING:
    AutoConfig.register(BioViLTConfig.model_type, BioViLTConfig)
    AutoModel.register(BioViLTConfig, BioViLTModel)


class RaDialogConfig(LlavaConfig):
    """The stock configuration under a name of its own, so that loading it imports this file."""


class RaDialogModel(LlavaModel):
    """The stock model without its output layer; engines build it from the configuration."""

    config_class = RaDialogConfig


class RaDialogForConditionalGeneration(LlavaForConditionalGeneration):
    """The stock model under a name of its own."""

    config_class = RaDialogConfig


AutoModel.register(RaDialogConfig, RaDialogModel, exist_ok=True)
'''
_AUTO_MAP = {
    "AutoConfig": "modeling_radialog.RaDialogConfig",
    "AutoModel": "modeling_radialog.RaDialogModel",
    "AutoModelForImageTextToText": "modeling_radialog.RaDialogForConditionalGeneration",
}


def add_auto_map(folder: Path) -> None:
    """Make a saved model loadable with ``trust_remote_code=True`` and nothing but transformers.

    Args:
        folder: A saved model with a BioViL-T tower.

    Raises:
        UsageError: If its tower or class needs none of this, or more than this.
    """
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    if config["model_type"] != "llava":
        mend = "leave out --auto-map; users install radialog"
        raise UsageError(f"--auto-map carries the code of project, not of {config['model_type']}", mend=mend)
    tower = config["vision_config"]["model_type"]
    if tower != biovil.BioViLTConfig.model_type:
        raise UsageError(f"transformers itself loads the tower {tower}", mend="leave out --auto-map")
    (folder / TOWER_CODE).write_text(inspect.getsource(biovil), encoding="utf-8")
    (folder / MODEL_CODE).write_text(_MODEL_SOURCE, encoding="utf-8")
    config["auto_map"] = _AUTO_MAP
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")

"""Modelling code that travels with the weights, for users who have transformers and not this package."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

from radialog_instruct.errors import UsageError
from radialog_model import biovil

TOWER_CODE, MODEL_CODE = "modeling_biovil_t.py", "modeling_radialog.py"
_MODEL_SOURCE = '''"""A stock LLaVA whose image tower is BioViL-T; importing this file registers the tower.

The classes are the stock ones under their own names, by which transformers and engines look up how weights are named.
"""

import transformers
from transformers import CONFIG_MAPPING, AutoConfig, AutoModel

from .modeling_biovil_t import BioViLTConfig, BioViLTModel

if BioViLTConfig.model_type not in CONFIG_MAPPING:
    AutoConfig.register(BioViLTConfig.model_type, BioViLTConfig)
    AutoModel.register(BioViLTConfig, BioViLTModel)


class LlavaConfig(transformers.LlavaConfig):
    """Its loading imports this file."""


class LlavaModel(transformers.LlavaModel):
    """The model without its output layer, which engines build."""

    config_class = LlavaConfig


class LlavaForConditionalGeneration(transformers.LlavaForConditionalGeneration):
    """The model."""

    config_class = LlavaConfig


AutoModel.register(LlavaConfig, LlavaModel, exist_ok=True)
'''
_AUTO_MAP = {
    "AutoConfig": "modeling_radialog.LlavaConfig",
    "AutoModel": "modeling_radialog.LlavaModel",
    "AutoModelForImageTextToText": "modeling_radialog.LlavaForConditionalGeneration",
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

"""The published BioViL-T image weights become a tower.

Names are those of the ``health_multimodal`` package: a torchvision ResNet under ``encoder.encoder``, the 1x1
convolution ``encoder.backbone_to_vit``, the constant ``encoder.missing_previous_emb``, the temporal transformer
``encoder.vit_pooler`` and the joint-space ``projector``. A single image never reaches the last two.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from hashlib import md5
from pathlib import Path

from radialog_instruct.errors import ModelError
from radialog_model.biovil import EXPANSION, BioViLTConfig, BioViLTModel
from radialog_model.convert.state import State, read_file
from radialog_model.validation import check_fit, few

PUBLISHED_FILE = "biovil_t_image_model_proj_size_128.pt"
"""Name of the file in the Hub repository ``microsoft/BiomedVLP-BioViL-T``."""
PUBLISHED_MD5 = "a83080e2f23aa584a4f2b24c39b1bb64"
"""Its MD5, as the ``health_multimodal`` package checks it."""

UNUSED = ("encoder.vit_pooler.", "encoder.encoder.fc.", "projector.", "classifier.")
"""Parts that a single image never reaches."""
_BLOCK = re.compile(r"encoder\.encoder\.layer(\d)\.(\d+)\.(.+)")
_REST = {
    "encoder.encoder.conv1.": "stem.0.",
    "encoder.encoder.bn1.": "stem.1.",
    "encoder.backbone_to_vit.": "projection.",
}
_CONSTANT = "encoder.missing_previous_emb"


@dataclass(frozen=True)
class Tower:
    """A converted tower.

    Attributes:
        model: The tower, in evaluation mode and 32 bits.
        unused: Part -> tensors that were left behind.
    """

    model: BioViLTModel
    unused: dict[str, int]

    def describe_unused(self) -> str:
        """Return what was left behind as one line."""
        parts = ", ".join(f"{part} ({count} tensors)" for part, count in sorted(self.unused.items()))
        return f"not used for a single image and left behind: {parts or 'nothing'}"


def convert_tower(state: State, *, where: str, image_size: int = 448, mend: str | None = None) -> Tower:
    """Build a tower from tensors under the published names.

    Args:
        state: The published tensors.
        where: Their file, for errors.
        image_size: Side of the input in pixels; the publication's is 448.
        mend: What to do where tensors are missing.

    Raises:
        ModelError: If tensors are missing, not known, or of the wrong shape.
    """
    used = {name: value for name, value in state.items() if not name.startswith(UNUSED)}
    unused = Counter(next(p for p in UNUSED if n.startswith(p)).rstrip(".") for n in state.keys() - used.keys())
    config = _config(used, where, image_size)
    renamed = _rename(used, config.depths, where)
    model = BioViLTModel(config)
    check_fit(renamed, model.state_dict(), where=where, mend=mend)
    model.load_state_dict(renamed)
    return Tower(model.train(mode=False), dict(unused))


def read_biovilt(path: Path) -> tuple[Tower, str | None]:
    """Read the published file.

    Returns:
        The tower, and a note where the file is not the published one byte for byte.

    Raises:
        ModelError: If it cannot be read or is something else.
    """
    tower = convert_tower(read_file(path), where=str(path))
    return tower, md5_note(path)


def md5_note(path: Path) -> str | None:
    """Return a note where a file's MD5 is not the published one."""
    with path.open("rb") as handle:
        hasher = md5(usedforsecurity=False)
        while block := handle.read(1 << 20):
            hasher.update(block)
    found = hasher.hexdigest()
    if found == PUBLISHED_MD5:
        return None
    return f"{path.name}: MD5 {found} is not that of the published file ({PUBLISHED_MD5})"


def _config(state: State, where: str, image_size: int) -> BioViLTConfig:
    blocks = {(int(m[1]), int(m[2])) for m in map(_BLOCK.match, state) if m}
    stages = sorted({stage for stage, _ in blocks})
    try:
        depths = [1 + max(block for stage, block in blocks if stage == wanted) for wanted in stages]
        widths = [len(state[f"encoder.encoder.layer{stage}.0.conv3.weight"]) for stage in stages]
        stem = len(state["encoder.encoder.conv1.weight"])
        projection = len(state["encoder.backbone_to_vit.weight"])
    except KeyError as error:
        mend = f"give {PUBLISHED_FILE}, or weights under the same names"
        raise ModelError(f"not BioViL-T image weights: {error.args[0]} is missing", where=where, mend=mend) from error
    if not stages or any(width % EXPANSION for width in widths):
        raise ModelError("the ResNet's stages cannot be told from the weights", where=where, mend="check the file")
    return BioViLTConfig(
        depths=depths,
        widths=widths,
        stem_width=stem,
        projection_dim=projection,
        hidden_size=2 * projection,
        image_size=image_size,
    )


def _rename(state: State, depths: tuple[int, ...] | list[int], where: str) -> State:
    renamed: State = {}
    unknown = []
    for name, value in state.items():
        block = _BLOCK.match(name)
        prefix = next((p for p in _REST if name.startswith(p)), None)
        if block:
            number = sum(depths[: int(block[1]) - 1]) + int(block[2])
            renamed[f"blocks.{number}.{block[3]}"] = value
        elif prefix:
            renamed[_REST[prefix] + name.removeprefix(prefix)] = value
        elif name == _CONSTANT:
            renamed["missing_previous.weight"] = value.flatten(1)  # [1, dim, 1, 1] -> [1, dim]
        else:
            unknown.append(name)
    if unknown:
        raise ModelError(f"names that BioViL-T does not have: {few(unknown)}", where=where, mend="check the file")
    return {name: value if name.endswith("num_batches_tracked") else value.float() for name, value in renamed.items()}

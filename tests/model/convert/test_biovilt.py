from __future__ import annotations

from hashlib import md5
from pathlib import Path

import pytest
import torch
from transformers import AutoModel

from radialog_instruct.errors import ModelError
from radialog_instruct.terminal import run_app
from radialog_model import register
from radialog_model.cli import app
from radialog_model.convert import biovilt
from radialog_model.convert.biovilt import convert_tower, md5_note
from tests.model.published import old_features, published_names, tower_state

PIXELS = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(5))


def test_the_converted_tower_computes_what_the_published_layout_computes() -> None:
    state = tower_state()
    tower = convert_tower(state, where="file", image_size=96).model
    with torch.no_grad():
        hidden = tower(PIXELS).last_hidden_state
    expected = old_features(state, PIXELS)
    assert hidden.shape == (2, 9, 32)
    assert expected.std() > 0.1
    torch.testing.assert_close(hidden, expected, atol=1e-5, rtol=1e-5)


def test_names_go_both_ways_and_batchnorm_keeps_its_statistics() -> None:
    state = tower_state()
    converted = convert_tower(state, where="file").model.state_dict()
    back = published_names(converted)
    used = {name: value for name, value in state.items() if not name.startswith(biovilt.UNUSED)}
    assert back.keys() == used.keys()
    for name, value in used.items():
        assert torch.equal(back[name], value), name
    assert converted["stem.1.num_batches_tracked"] == 7
    assert sum("running_mean" in name for name in converted) == 1 + 5 * 3 + 3


def test_lost_statistics_are_an_error_that_names_them() -> None:
    lost = {name: value for name, value in tower_state().items() if "running_" not in name}
    with pytest.raises(ModelError, match=r"missing: blocks.0.bn1.running_mean, .* \(38 in all\)\)\. fill"):
        convert_tower(lost, where="file", mend="fill")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder.encoder.layer9": torch.ones(1)}, "names that BioViL-T does not have: encoder.encoder.layer9"),
        ({"encoder.encoder.bn1.weight": torch.ones(3)}, r"wrong shape: stem.1.weight is \[3\] and not \[8\]"),
        (
            {"encoder.backbone_to_vit.weight": None},
            "not BioViL-T image weights: encoder.backbone_to_vit.weight is missing",
        ),
    ],
)
def test_files_of_something_else_are_named(change, message: str) -> None:
    state = {name: value for name, value in (tower_state() | change).items() if value is not None}
    with pytest.raises(ModelError, match=message):
        convert_tower(state, where="file")


def test_a_file_that_is_not_the_published_one_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(b"other")
    assert "is not that of the published file (a83080e2f23aa584a4f2b24c39b1bb64)" in str(md5_note(path))
    monkeypatch.setattr(biovilt, "PUBLISHED_MD5", md5(b"other").hexdigest())
    assert md5_note(path) is None


def test_the_command_writes_a_tower_that_auto_model_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "biovil.pt", tmp_path / "tower"
    torch.save(tower_state(), source)
    assert (
        run_app(app, "radialog-model", ["convert", "--from", "biovilt", "--source", str(source), "--output", str(out)])
        == 0
    )
    said = capsys.readouterr().err
    assert "left behind: encoder.encoder.fc (2 tensors), encoder.vit_pooler (2 tensors), projector (2 tensors)" in said
    assert "MD5" in said
    register()
    tower = AutoModel.from_pretrained(out)
    assert sorted(path.name for path in out.iterdir()) == ["config.json", "model.safetensors"]
    assert tower.config.image_size == 448
    with torch.no_grad():
        features = tower(PIXELS).last_hidden_state
    torch.testing.assert_close(features, old_features(tower_state(), PIXELS), atol=1e-5, rtol=1e-5)

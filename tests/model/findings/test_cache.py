from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from radialog_instruct.assets import demo_dir
from radialog_instruct.errors import DataError, UsageError
from radialog_instruct.files import file_sha256
from radialog_instruct.findings import FINDINGS
from radialog_model.findings import FindingsExtractor
from radialog_model.findings.cache import load_predictions, predict_to_file, read_predictions
from tests.model.findings.conftest import scrambled

ROOT = demo_dir()
PATHS = [f"images/{path.name}" for path in sorted((ROOT / "images").glob("*.jpg"))[:6]]


class Counting:
    """A predictor that counts what it is asked."""

    def __init__(self, inner: FindingsExtractor) -> None:
        self.inner, self.asked = inner, 0
        self.fingerprint, self.thresholds, self.decide = inner.fingerprint, inner.thresholds, inner.decide

    def probabilities(self, images: list) -> torch.Tensor:
        self.asked += len(images)
        return self.inner.probabilities(images)


@pytest.fixture
def predictor() -> Counting:
    return Counting(scrambled())


def test_predictions_are_kept_and_read_by_path_and_by_hash(predictor: Counting, tmp_path: Path) -> None:
    out = tmp_path / "p.jsonl"
    found = predict_to_file(predictor, PATHS, ROOT, out, batch_size=4)
    assert predict_to_file(predictor, PATHS, ROOT, out, batch_size=4) == found
    assert predictor.asked == 6
    texts = load_predictions(out)
    assert texts[PATHS[2]] == texts[file_sha256(ROOT / PATHS[2])] == found[2].text
    file = read_predictions(out)
    assert list(file.rows) == found
    assert file.extractor == predictor.fingerprint
    assert file.thresholds == dict.fromkeys(FINDINGS, 0.5)


@pytest.mark.parametrize("cut", [3, 40, 500, 900, 1500])
def test_a_damaged_tail_is_made_again_with_the_same_bytes(cut: int, predictor: Counting, tmp_path: Path) -> None:
    out = tmp_path / "p.jsonl"
    predict_to_file(predictor, PATHS, ROOT, out, batch_size=4)
    whole = out.read_bytes()
    out.write_bytes(whole[:-cut])
    assert len(read_predictions(out).rows) < 6
    predict_to_file(predictor, PATHS, ROOT, out, batch_size=4)
    assert out.read_bytes() == whole


def test_damage_before_the_tail_names_its_line(predictor: Counting, tmp_path: Path) -> None:
    out = tmp_path / "p.jsonl"
    predict_to_file(predictor, PATHS, ROOT, out)
    lines = out.read_text().splitlines()
    for broken in ("{", lines[3].replace('"text": "', '"text": "x'), json.dumps({"image": "a"})):
        out.write_text("\n".join([*lines[:3], broken, *lines[4:], ""]))
        with pytest.raises(DataError, match=r"p\.jsonl:4: not a prediction"):
            read_predictions(out)
        with pytest.raises(DataError, match=r"p\.jsonl:4"):
            predict_to_file(predictor, PATHS, ROOT, out)
    out.write_text("hello\n")
    with pytest.raises(DataError, match=r"p\.jsonl:1: no file of predicted findings"):
        load_predictions(out)
    with pytest.raises(DataError, match="cannot read"):
        load_predictions(tmp_path / "none.jsonl")


def test_another_extractor_or_other_thresholds_need_another_file(predictor: Counting, tmp_path: Path) -> None:
    out = tmp_path / "p.jsonl"
    predict_to_file(predictor, PATHS[:1], ROOT, out)
    other = scrambled(thresholds={**dict.fromkeys(FINDINGS, 0.5), "Edema": 0.4})
    with pytest.raises(UsageError, match="another extractor or other thresholds"):
        predict_to_file(other, PATHS, ROOT, out)
    assert len(read_predictions(out).rows) == 1


def test_an_image_that_changed_is_asked_again_and_the_later_line_counts(predictor: Counting, tmp_path: Path) -> None:
    image = tmp_path / "a.jpg"
    image.write_bytes((ROOT / PATHS[0]).read_bytes())
    out = tmp_path / "p.jsonl"
    predict_to_file(predictor, ["a.jpg", "a.jpg"], tmp_path, out)
    assert len(read_predictions(out).rows) == 1
    image.write_bytes((ROOT / PATHS[3]).read_bytes())
    (found,) = predict_to_file(predictor, ["a.jpg"], tmp_path, out)
    assert load_predictions(out)["a.jpg"] == found.text
    assert found.sha256 == file_sha256(ROOT / PATHS[3])


def test_a_missing_or_broken_image_stops_with_what_came_before_kept(predictor: Counting, tmp_path: Path) -> None:
    (tmp_path / "images").symlink_to(ROOT / "images")
    (tmp_path / "broken.jpg").write_bytes(b"hello")
    out = tmp_path / "p.jsonl"
    for bad, message in (("broken.jpg", "not an image"), ("none.jpg", "no such image")):
        with pytest.raises(DataError, match=message):
            predict_to_file(predictor, [*PATHS[:2], bad], tmp_path, out, batch_size=2)
        assert len(read_predictions(out).rows) == 2


def test_a_killed_process_leaves_a_file_that_goes_on(
    extractor_folder: Path, predictor: Counting, tmp_path: Path
) -> None:
    """The process kills itself without warning between two batches."""
    out = tmp_path / "p.jsonl"
    code = f"""
import os, signal
from pathlib import Path
from radialog_model.findings import FindingsExtractor
from radialog_model.findings.cache import predict_to_file
def stop(done, total):
    if done >= 4:
        os.kill(os.getpid(), signal.SIGKILL)
predict_to_file(FindingsExtractor.load(Path({str(extractor_folder)!r})), {PATHS!r}, Path({str(ROOT)!r}), Path({str(out)!r}), batch_size=2, progress=stop)
"""
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, env=os.environ)
    assert killed.returncode == -signal.SIGKILL
    assert len(read_predictions(out).rows) == 4
    extractor = FindingsExtractor.load(extractor_folder)
    predict_to_file(extractor, PATHS, ROOT, out, batch_size=2)
    predict_to_file(extractor, PATHS, ROOT, tmp_path / "whole.jsonl", batch_size=2)
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()

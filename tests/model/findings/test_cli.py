from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from radialog_instruct.assets import demo_dir
from radialog_instruct.findings import FINDINGS
from radialog_instruct.terminal import run_app
from radialog_model.cli import app
from radialog_model.findings.cache import load_predictions, read_predictions
from tests.instruct.sources.test_images import dicom

IMAGES = sorted((demo_dir() / "images").glob("*.jpg"))[:2]


def run(*arguments: object) -> int:
    return run_app(app, "radialog-model", [str(argument) for argument in arguments])


def chest(path: Path, **tags: object) -> Path:
    pixels = (np.asarray(Image.open(IMAGES[0]).convert("L")).astype(np.uint16)) * 16
    return dicom(path, pixels, **tags)


def test_train_predict_eval_round_trip(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    extractor = tmp_path / "extractor"
    options = ("--config", "tiny", "--epochs", 1, "--freeze", "--thresholds", "tuned")
    assert run("findings", "train", "--data", dataset, "--output", extractor, *options) == 0
    assert "epoch 1/1: validation loss" in capsys.readouterr().err
    out, table = tmp_path / "p.jsonl", tmp_path / "p.csv"
    predict = ("findings", "predict", "--data", dataset, "--extractor", extractor, "--output", out, "--csv", table)
    assert run(*predict) == 0
    first = out.read_bytes()
    assert run(*predict) == 0
    assert out.read_bytes() == first
    rows = list(csv.DictReader(table.open()))
    assert len(rows) == len(read_predictions(out).rows) == 60
    texts = load_predictions(out)
    assert all(texts[row["image"]] == texts[row["sha256"]] == row["text"] for row in rows)
    assert {row[name] for row in rows for name in FINDINGS} <= {"0", "1"}

    capsys.readouterr()
    evaluate = ("findings", "eval", "--data", dataset, "--split", "test", "--json")
    assert run(*evaluate, "--extractor", extractor, "--output", tmp_path / "scores.json") == 0
    asked = json.loads(capsys.readouterr().out)
    assert json.loads((tmp_path / "scores.json").read_text()) == asked
    assert run(*evaluate, "--predictions", out) == 0
    kept = json.loads(capsys.readouterr().out)
    assert kept["macro_f1"] == asked["macro_f1"]
    assert kept["extractor"] == asked["extractor"]
    assert asked["n"] == 24
    assert run(*evaluate, "--extractor", extractor, "--thresholds", "half") == 0
    assert set(json.loads(capsys.readouterr().out)["thresholds"].values()) == {0.5}


def test_the_demonstration_head_is_scored_by_default(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("findings", "eval", "--data", dataset, "--split", "validation") == 0
    out = capsys.readouterr().out
    assert "macro F1" in out
    assert "Enlarged Cardiomediastinum" in out
    assert "10 images" in out


def test_predict_prints_texts_and_what_the_tags_say(
    extractor_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leg = chest(tmp_path / "leg.dcm", BodyPartExamined="LEG")
    given = ("findings", "predict", "--extractor", extractor_folder)
    assert run(*given, "--image", IMAGES[0], "--image", leg) == 0
    shown = capsys.readouterr()
    assert [line.split(": ")[0] for line in shown.out.splitlines()] == [str(IMAGES[0]), str(leg)]
    assert "BodyPartExamined is LEG, not a chest" in shown.err
    assert run(*given, "--image", IMAGES[0], "--output", tmp_path / "p.jsonl") == 0
    assert load_predictions(tmp_path / "p.jsonl")[str(IMAGES[0])] == capsys.readouterr().out.strip()


def test_generate_takes_dicom_and_says_what_speaks_against_it(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lateral = chest(tmp_path / "a.dcm", ViewPosition="LL", BodyPartExamined="CHEST")
    given = ("generate", "--weights", weights, "--max-new-tokens", 3)
    assert run(*given, "--image", lateral, "--image", IMAGES[0]) == 0
    shown = capsys.readouterr()
    assert len([line for line in shown.out.splitlines() if line.startswith(str(lateral))]) == 1
    assert f"{lateral}: lateral view (ViewPosition LL)" in shown.err
    assert f"{lateral}: its report rests on this lateral view alone" in shown.err
    assert "Secret" not in shown.out + shown.err
    frames = dicom(tmp_path / "b.dcm", np.zeros((2, 4, 4), np.uint16).reshape(8, 4), NumberOfFrames=2, Rows=4)
    assert run(*given, "--image", frames) == 3
    assert "2 frames in one DICOM file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("predict",), 2, "give either --image or --data"),
        (("predict", "--image", "{image}", "--data", "{data}"), 2, "give either --image or --data"),
        (("predict", "--data", "{data}"), 2, "give --output FILE"),
        (("predict", "--data", "{data}", "--output", "{tmp}/p", "--split", "dev"), 2, "no split 'dev'"),
        (("predict", "--data", "{data}", "--output", "{tmp}/text.jpg/p"), 2, "cannot write"),
        (("predict", "--data", "{tmp}", "--output", "{tmp}/p"), 3, "no built dataset here"),
        (("predict", "--data", "{data}", "--output", "{tmp}/p", "--image-root", "{tmp}"), 3, "no such image"),
        (("predict", "--image", "{tmp}/none.jpg"), 3, "no such image"),
        (("predict", "--image", "{tmp}/text.jpg"), 3, "not an image"),
        (("predict", "--image", "{image}", "--extractor", "{tmp}"), 4, "no config.json here"),
        (("eval", "--data", "{data}", "--image-root", "{tmp}"), 3, "images are missing"),
        (("eval", "--data", "{data}", "--thresholds", "best"), 2, "choose stored or half"),
        (("eval", "--data", "{data}", "--predictions", "{tmp}/text.jpg"), 3, "no file of predicted findings"),
        (("eval", "--data", "{data}", "--predictions", "p", "--extractor", "e"), 2, "made already"),
        (("train", "--data", "{data}", "--output", "{tmp}/o", "--config", "tiny", "--epochs", "0"), 2, "epochs"),
        (
            ("train", "--data", "{data}", "--output", "{tmp}/o", "--backbone", "{tmp}/none"),
            4,
            "backbone cannot be loaded",
        ),
        (
            ("train", "--data", "{data}", "--output", "{tmp}/o", "--config", "tiny", "--image-root", "{tmp}"),
            3,
            "missing",
        ),
        (("train", "--data", "{data}", "--output", "{tmp}/text.jpg/o", "--config", "tiny"), 2, "cannot write"),
    ],
)
def test_bad_input_is_one_line_and_an_exit_code(
    arguments: tuple[str, ...],
    code: int,
    message: str,
    dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "text.jpg").write_text("hello")
    given = [argument.format(tmp=tmp_path, image=IMAGES[0], data=dataset) for argument in arguments]
    assert run("findings", *given) == code
    error = capsys.readouterr().err.splitlines()
    assert error[-1].startswith("radialog-model: ")
    assert message in error[-1]


def test_predictions_of_another_split_are_missed_by_name(
    extractor_folder: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "p.jsonl"
    given = ("--data", dataset, "--split", "validation")
    assert run("findings", "predict", *given, "--extractor", extractor_folder, "--output", out) == 0
    assert run("findings", "eval", "--data", dataset, "--split", "test", "--predictions", out) == 3
    assert "24 images have no prediction" in capsys.readouterr().err


def test_help_of_every_command_imports_no_torch() -> None:
    code = (
        "import sys; from radialog_model.cli import app; from radialog_instruct.terminal import run_app;"
        "[run_app(app, 'x', ['findings', c, '--help']) for c in ('train', 'predict', 'eval')];"
        "assert not {'torch', 'transformers', 'pydicom'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0

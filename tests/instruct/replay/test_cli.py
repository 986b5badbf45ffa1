from __future__ import annotations

import json
from pathlib import Path

import pytest

from radialog_instruct.cli import app
from radialog_instruct.errors import UsageError
from radialog_instruct.replay.cli import engine_arguments, worker_of
from radialog_instruct.synth.mimic import write_mimic_tree
from radialog_instruct.terminal import run_app
from tests.instruct.replay.fake_server import MODEL, Script, serving


def run(*arguments: object) -> int:
    return run_app(app, "radialog-instruct", [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def mimic(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    tree = tmp_path_factory.mktemp("mimic") / "tree"
    write_mimic_tree(tree, 40)
    return ["--source", "mimic-cxr", "--root", tree / "mimic-cxr-jpg", "--reports", tree / "mimic-cxr"]


def test_credentialed_reports_stay_unless_the_user_vouches_for_the_host(
    mimic: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = [*mimic, "--backend", "openai", "--model", MODEL, "--retries", 0, "--backoff", 0.001, "--limit", 1]
    url = ["--base-url", "https://llm.example.invalid/v1"]
    assert run("replay", "--out", tmp_path / "a", *common, *url) == 2
    error = capsys.readouterr().err
    assert "llm.example.invalid is neither this machine nor in a private network" in error
    assert "--zero-retention llm.example.invalid" in error
    assert not (tmp_path / "a").exists()
    # Vouched for, it is tried, and is not there.
    assert run("replay", "--out", tmp_path / "b", *common, *url, "--zero-retention", "llm.example.invalid") == 4
    assert "does not answer" in capsys.readouterr().err
    script = Script()
    with serving(script) as own:
        assert run("replay", "--out", tmp_path / "c", *common, "--base-url", own) in (0, 5)
    assert script.asked


def test_a_plan_tells_tokens_and_hours_before_an_engine_is_there(
    mimic: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("plan", *mimic, "--mixture", "full", "--tokens-per-second", 100, "--json") == 0
    estimate = json.loads(capsys.readouterr().out)["replay"]
    assert set(estimate["tasks"]) == {"correction", "summarization", "easy_language", "region_qa"}
    tokens = sum(task["answer_tokens"] for task in estimate["tasks"].values())
    assert estimate["gpu_hours"] == pytest.approx(tokens / 100 / 3600, abs=1e-3)
    assert all(task["prompt_tokens"] > task["rows"] * 40 for task in estimate["tasks"].values())
    assert run("plan", *mimic, "--mixture", "full") == 0
    assert "GPU-hours at 2,000 answer tokens/s" in " ".join(capsys.readouterr().out.split())


def test_caches_are_looked_at_exported_and_merged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(2):
        assert run("replay", "--out", tmp_path / "r", "--backend", "echo", "--worker", f"{i}/2") in (0, 5)
    caches = sorted((tmp_path / "r").glob("answers-*.sqlite"))
    assert len(caches) == 2
    capsys.readouterr()
    assert run("cache", "merge", *caches, "--out", tmp_path / "all.sqlite") == 0
    assert run("cache", "export", tmp_path / "all.sqlite", "--out", tmp_path / "all.jsonl") == 0
    assert run("cache", "import", tmp_path / "all.jsonl", "--out", tmp_path / "again.sqlite") == 0
    assert run("cache", "info", tmp_path / "again.sqlite", tmp_path / "all.jsonl") == 0
    lines = capsys.readouterr().out.splitlines()
    n = len((tmp_path / "all.jsonl").read_text().splitlines())
    assert f"{tmp_path / 'again.sqlite'}: {n:,} answers" in lines
    assert "  echo at 1" in lines
    assert run("cache", "info", tmp_path / "none.sqlite") == 3


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--backend", "openai"], 2, "--model: the LLM's name is missing"),
        (["--backend", "vllm", "--model", "/no/such/folder"], 4, "no such folder"),
        (["--backend", "smoke"], 2, "smoke"),
        (["--backend", "echo", "--tasks", "impression"], 2, "no task whose answers an LLM writes"),
        (["--backend", "echo", "--worker", "4/4"], 2, "'4/4' is no part"),
        (["--backend", "echo", "--attempts", "0"], 2, "attempts"),
        (["--backend", "echo", "--temperature", "9"], 2, "--temperature"),
        (["--backend", "openai", "--model", "m", "--base-url", "localhost:8000"], 2, "is no address"),
        (["--backend", "batchfile", "--model", "m", "--batch-command", "run"], 2, "lacks {input}"),
        (["--backend", "openai", "--model", "m", "--chat-template", "x.jinja"], 3, "cannot read"),
        (["--backend", "echo", "--drafts", "/no/such/run"], 3, "no run folder here"),
    ],
)
def test_wrong_options_are_named(
    arguments: list[str], code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("replay", "--out", tmp_path / "r", *arguments) == code
    assert message in capsys.readouterr().err


def test_engine_arguments_are_values() -> None:
    given = engine_arguments(["dtype=bfloat16", "max_num_seqs=64", "enforce_eager=true", 'limits={"image": 1}'])
    assert given == {"dtype": "bfloat16", "max_num_seqs": 64, "enforce_eager": True, "limits": {"image": 1}}
    for wrong in ("dtype", "=1", "a b=1", "x=[1"):
        with pytest.raises(UsageError, match="--engine-arg"):
            engine_arguments([wrong])
    assert worker_of("3/16") == (3, 16)
    assert worker_of(None) is None
    for wrong in ("3", "a/4", "-1/4", "1/0"):
        with pytest.raises(UsageError, match="--worker"):
            worker_of(wrong)


def test_chexbert_may_judge_and_a_build_must_use_the_same_judge(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.instruct.labeling.test_chexbert import VOCABULARY, random_checkpoint

    checkpoint = random_checkpoint(tmp_path / "chexbert.pth")
    judge = ["--judge", "chexbert", "--chexbert", checkpoint, "--vocabulary", VOCABULARY]
    common = ["--tasks", "summarization,correction", "--mixture", "full"]
    answers = tmp_path / "answers"
    assert run("replay", "--out", answers, "--backend", "echo", *common, *judge, "--attempts", 1, "--json") in (0, 5)
    summary = json.loads(capsys.readouterr().out)
    assert run("build", "--out", tmp_path / "d", "--replay", answers, *common, *judge, "--json") == 0
    built = json.loads(capsys.readouterr().out)
    assert {task: sum(by.values()) for task, by in built["rows"].items()} == summary["accepted"]
    assert run("build", "--out", tmp_path / "e", "--replay", answers, *common) == 2
    assert "judged by chexbert" in capsys.readouterr().err


def run_folder(folder: Path, split: str = "train", source: str = "demo", lines: list[str] | None = None) -> Path:
    (folder / "samples").mkdir(parents=True)
    run = {"data": {"split": split, "source": source}, "model": {"name": "some-model"}}
    (folder / "run.json").write_text(json.dumps(run))
    (folder / "samples" / "report_generation.jsonl").write_text("\n".join(lines or []))
    return folder


def test_corrections_start_from_a_models_drafts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from radialog_instruct.sources import open_source

    studies = [study for study in open_source("demo").studies() if study.split == "train"]
    lines = [
        json.dumps(
            {
                "study_id": study.study_id,
                "images": [f"/data/{study.images[0].path}"],
                "prediction": "The heart is enlarged. There is bibasilar atelectasis. No effusion." if i else None,
            }
        )
        for i, study in enumerate(studies)
    ]
    drafts = run_folder(tmp_path / "run", lines=lines)
    common = ["--tasks", "correction", "--drafts", drafts, "--mixture", "full"]
    assert run("plan", *common, "--json") == 0
    planned = json.loads(capsys.readouterr().out)
    assert set(planned["rows"]["correction"]) == {"train"}
    assert 20 <= planned["rows"]["correction"]["train"] < len(studies)
    assert planned["skipped"]["correction"]["no draft"] == 60 - len(studies) + 1
    answers = tmp_path / "answers"
    assert run("replay", "--out", answers, "--backend", "echo", *common, "--attempts", 1) in (0, 5)
    assert run("build", "--out", tmp_path / "d", "--replay", answers, *common) == 0


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"split": "test"}, 2, "its reports are of the split 'test'"),
        ({"source": "iu-xray"}, 2, "its reports are of iu-xray, not of demo"),
        ({"lines": ['{"study_id": "x"}']}, 3, "report_generation.jsonl:1"),
    ],
)
def test_drafts_of_another_run_are_refused(
    change: dict, code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drafts = run_folder(tmp_path / "run", **change)
    assert run("replay", "--out", tmp_path / "r", "--backend", "echo", "--drafts", drafts) == code
    assert message in capsys.readouterr().err

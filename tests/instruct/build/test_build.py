from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from radialog_instruct.build.engine import build_dataset, plan_dataset
from radialog_instruct.build.manifest import read_manifest
from radialog_instruct.config import TASK_NAMES, BuildConfig, BuildPlaces, ContextPolicy, ImagePolicy, SourcePlaces
from radialog_instruct.errors import DataError, UsageError
from radialog_instruct.mixtures import load_mixture
from radialog_instruct.tasks import REPLAY_TASKS

# Without a replay the tasks whose answers an LLM writes have no rows.
DEMO_TASKS = tuple(name for name in TASK_NAMES if name not in REPLAY_TASKS)
COLUMNS = (
    "id task messages image_paths source terms split subject_id study_id image_ids view target_source findings_text "
    "finding_labels labeler indication context report_turn template_id template_version template_hash generator quality"
).split()


def build(out: Path, *, workers: int = 1, templates: Path | None = None, **config: object):
    mixture = load_mixture("full")
    if "tasks" in config:
        names = config.pop("tasks")
        mixture = mixture.model_copy(update={"tasks": {name: mixture.tasks[name] for name in names}})  # type: ignore[attr-defined]
    settings = BuildConfig(source="demo", mixture=mixture, **config)  # type: ignore[arg-type]
    return build_dataset(settings, BuildPlaces(out=out, workers=workers, templates=templates))


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("built") / "dataset"
    build(out)
    return out


def rows(folder: Path, task: str) -> list[dict]:
    return [row for file in sorted(folder.glob(f"{task}/*.parquet")) for row in pq.read_table(file).to_pylist()]


def test_every_task_has_rows_in_the_published_columns(dataset: Path) -> None:
    for task in DEMO_TASKS:
        files = sorted(dataset.glob(f"{task}/*.parquet"))
        assert files, task
        assert all(pq.read_schema(file).names == COLUMNS for file in files)


def test_ids_are_unique_and_patients_stay_in_one_split_over_all_tasks(dataset: Path) -> None:
    everything = [row for task in DEMO_TASKS for row in rows(dataset, task)]
    assert len({row["id"] for row in everything}) == len(everything)
    splits: dict[str, set[str]] = {}
    for row in everything:
        splits.setdefault(row["subject_id"], set()).add(row["split"])
    assert all(len(found) == 1 for found in splits.values())


def test_messages_alternate_and_hold_no_marker_and_no_findings_text(dataset: Path) -> None:
    for task in DEMO_TASKS:
        for row in rows(dataset, task):
            roles = [m["role"] for m in row["messages"]]
            assert roles == ["user", "assistant"] * (len(roles) // 2)
            assert all(m["content"].strip() for m in row["messages"])
            assert not any("Predicted Findings" in m["content"] or "<image>" in m["content"] for m in row["messages"])
            if row["report_turn"] is not None:
                assert row["messages"][row["report_turn"]]["role"] == "assistant"


def test_datasets_loads_it_with_its_features(dataset: Path, tmp_path: Path) -> None:
    from datasets import load_dataset

    files = {"train": str(dataset / "*" / "train-*.parquet"), "test": str(dataset / "*" / "test-*.parquet")}
    loaded = load_dataset("parquet", data_files=files, cache_dir=str(tmp_path))
    manifest = read_manifest(dataset)
    assert manifest is not None
    assert loaded["train"].num_rows == sum(by_split.get("train", 0) for by_split in manifest.rows().values())
    first = loaded["test"][0]
    assert first["messages"][0]["role"] == "user"
    assert len(first["finding_labels"]) == 14
    assert first["generator"] is None or set(first["generator"].values()) == {None}


def test_binary_questions_are_balanced_in_each_class(dataset: Path) -> None:
    train = [row for row in rows(dataset, "findings_qa_binary") if row["split"] == "train"]
    yes = sum(row["messages"][-1]["content"] == "yes" for row in train)
    assert yes * 2 == len(train)


def test_workers_do_not_change_a_byte(dataset: Path, tmp_path: Path) -> None:
    build(tmp_path / "two", workers=2)
    assert contents(tmp_path / "two") == contents(dataset)


def test_a_rerun_keeps_the_files_and_mends_a_damaged_one(dataset: Path, tmp_path: Path) -> None:
    before, out = contents(dataset), tmp_path / "copy"
    build(out)
    victim, *others = sorted(out.glob("impression/train-*.parquet"))
    times = {path: path.stat().st_mtime_ns for path in others}
    victim.write_bytes(b"cut short")
    build(out)
    assert contents(out) == before
    assert {path: path.stat().st_mtime_ns for path in others} == times


def test_another_configuration_replaces_what_no_longer_holds(tmp_path: Path) -> None:
    build(tmp_path, tasks=("impression", "view_classification"))
    build(tmp_path, tasks=("impression",), seed=1, shards=2)
    names = {path.parent.name for path in tmp_path.glob("*/*.parquet")}
    assert names == {"impression"}
    assert all("of-00002" in path.name for path in tmp_path.glob("*/*.parquet"))


@pytest.mark.parametrize("delay", [0.0, 0.15, 0.4])
def test_killing_a_build_at_any_point_loses_nothing(dataset: Path, tmp_path: Path, delay: float) -> None:
    command = [sys.executable, "-m", "radialog_instruct.cli", "build", "--mixture", "full", "--out", str(tmp_path / "d")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("d/*/*.parquet")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.wait()
    build(tmp_path / "d")
    assert contents(tmp_path / "d") == contents(dataset)


def test_missing_images_leave_required_rows_out_and_are_counted(dataset: Path, tmp_path: Path) -> None:
    manifest = build(tmp_path, images=ImagePolicy.REQUIRE)
    assert manifest.images_left_out == {}
    assert manifest.rows() == read_manifest(dataset).rows()  # type: ignore[union-attr]


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds other files"):
        build(tmp_path)
    assert contents(tmp_path) == {"thesis.txt": b"mine"}


def test_an_output_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"file/dataset: cannot write: Not a directory"):
        build(tmp_path / "file" / "dataset")


def test_a_damaged_manifest_is_named_and_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"build_version": 1}')
    with pytest.raises(DataError, match=r"manifest\.json: not a manifest of this version: fingerprint"):
        build(tmp_path)
    assert contents(tmp_path) == {"manifest.json": b'{"build_version": 1}'}


def test_an_unknown_labeler_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no study has labels by 'gpt'. choose from: .*rules"):
        build(tmp_path, labeler="gpt")


def test_the_users_own_template_is_used_and_its_error_is_named(tmp_path: Path) -> None:
    import shutil

    from radialog_instruct.assets import templates_dir

    own = tmp_path / "templates"
    shutil.copytree(templates_dir(), own)
    template = own / "instruct" / "impression.jinja"
    template.write_text("{#- version: 2 -#}\n{% block v01 %}Impression, please.{% endblock %}\n")
    build(tmp_path / "out", tasks=("impression",), templates=own)
    (prompt,) = {row["messages"][2]["content"] for row in rows(tmp_path / "out", "impression")}
    assert prompt == "Impression, please."
    template.write_text("{#- version: 3 -#}\n{% block v01 %}For {{ patient }}.{% endblock %}\n")
    with pytest.raises(UsageError, match=r"impression\.jinja:2: 'patient' is undefined"):
        build(tmp_path / "out2", tasks=("impression",), templates=own)
    assert not list((tmp_path / "out2").glob("*/*.parquet"))
    assert not [p for p in (tmp_path / "out2").rglob("*") if p.name.endswith(".tmp")]


def test_the_plan_tells_the_rows_before_they_are_built(dataset: Path, tmp_path: Path) -> None:
    config = BuildConfig(source="demo", mixture=load_mixture("paper"))
    plan = plan_dataset(config, BuildPlaces(out=tmp_path / "unused"))
    assert not (tmp_path / "unused").exists()
    manifest = build_dataset(config, BuildPlaces(out=tmp_path / "built"))
    assert manifest.rows() == manifest.planned
    # A plan also counts what an LLM would have to write.
    assert manifest.rows() == {task: n for task, n in plan.rows.items() if task not in REPLAY_TASKS}
    assert set(REPLAY_TASKS) <= set(plan.rows)
    assert plan.total() < sum(sum(n.values()) for n in read_manifest(dataset).rows().values())  # type: ignore[union-attr]


def test_context_can_be_written_down_as_one_draw(dataset: Path, tmp_path: Path) -> None:
    build(tmp_path, context=ContextPolicy.DRAWN)
    for task in ("findings_qa_binary", "view_classification"):
        full = {row["id"]: row for row in rows(dataset, task)}
        drawn = {row["id"]: row for row in rows(tmp_path, task)}
        assert set(full) == set(drawn)
        assert {row["context"] for row in full.values()} == {"full"}
        assert {row["context"] for row in drawn.values()} == {"full", "none", "partial"}
        for name, row in drawn.items():
            assert row["messages"][-1] == full[name]["messages"][-1]
            assert len(row["messages"]) == (2 if row["context"] == "none" else 4)
            assert (row["report_turn"] is None) == (row["context"] == "none")
    assert {row["context"] for row in rows(tmp_path, "impression")} == {"full"}


def test_a_seed_changes_the_choice_and_nothing_else_does(dataset: Path, tmp_path: Path) -> None:
    build(tmp_path / "one", seed=1)
    one = {row["id"] for row in rows(tmp_path / "one", "findings_qa_binary")}
    zero = {row["id"] for row in rows(dataset, "findings_qa_binary")}
    assert one != zero
    assert len(one) == len(zero)


@pytest.mark.shared_data
def test_the_real_iu_reports_build_to_equal_bytes(shared_data: Path, tmp_path: Path) -> None:
    config = BuildConfig(source="iu-xray", mixture=load_mixture("full"))
    for name, workers in (("one", 1), ("two", 2)):
        source = SourcePlaces(root=shared_data / "iu_xray")
        places = BuildPlaces(source=source, out=tmp_path / name, workers=workers)
        manifest = build_dataset(config, places)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert manifest.terms == "no-derivatives"
    counts = manifest.rows()
    assert set(counts) == set(DEMO_TASKS) - {"rad_restruct_qa", "explanation"}
    assert sum(counts["impression"].values()) > 5_000
    skipped = manifest.skipped["view_classification"]
    assert skipped["view FRONTAL is none of the four"] > 3_000
    assert {row["view"] for row in rows(tmp_path / "one", "view_classification")} == {"LATERAL"}
    assert os.environ.get("HF_HUB_OFFLINE") == "1"

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from radialog_bench.evaluations import EVALUATIONS
from radialog_bench.evaluations.base import Conversation
from radialog_bench.labelers import open_labeler
from radialog_bench.leaderboard import Board, LeaderboardEntry, build_board
from radialog_bench.leaderboard.board import BoardRow, run_names
from radialog_bench.leaderboard.text import markdown
from radialog_bench.reference import load_reference
from radialog_bench.sheet import ScoringSettings, Sheet

Make = Callable[..., LeaderboardEntry]


def row(board: Board, table: str) -> BoardRow | None:
    found = [row for each in board.tables if each.id == table for row in each.rows if row.yours]
    return found[0] if found else None


def values(found: BoardRow | None) -> list:
    assert found is not None
    return [None if cell.value is None else round(cell.value, 6) for cell in found.cells]


def test_a_run_stands_in_the_columns_of_its_data_in_their_scale(entry: Make) -> None:
    board = build_board([entry()])
    assert values(row(board, "table-1")) == [None, 41.2, None, 10.1, 28.1, *[None] * 5]
    assert values(row(board, "table-5")) == [41.2, None, 10.1, None, 28.1]
    assert row(board, "table-3") is None
    assert row(board, "table-6") is None
    on_iu = build_board([entry("iu-xray")])
    assert values(row(on_iu, "table-1")) == [*[None] * 6, 41.2, None, 10.1, 28.1]
    assert row(on_iu, "table-5") is None
    cell = row(board, "table-1").cells[1]  # type: ignore[union-attr]
    assert cell.ci95 == pytest.approx((40.2, 42.2))


@pytest.mark.parametrize(
    "reads",
    ["labeler:rules-v2-08c2d341|uncertain:negative|v1", "labeler:chexbert-0123|uncertain:positive|v1"],
)
def test_a_ce_of_another_kind_is_withheld(entry: Make, reads: str) -> None:
    found = row(build_board([entry(reads=reads)]), "table-1")
    assert values(found) == [None, None, None, 10.1, 28.1, *[None] * 5]
    assert found is not None
    assert found.cells[1].withheld is not None
    assert reads in found.cells[1].withheld
    assert any("CE withheld" in note for note in found.notes)


def test_another_protocol_of_a_text_metric_is_withheld(entry: Make) -> None:
    other = {
        "bleu4": entry().evaluations["report_generation"].metrics["bleu4"].model_copy(update={"signature": "bleu4|v1"})
    }
    found = row(build_board([entry(metrics={"bleu4": other["bleu4"].model_dump()})]), "table-1")
    assert values(found)[3] is None


def test_the_demonstration_collection_stands_in_no_table(entry: Make) -> None:
    board = build_board([entry("demo", name="toy")])
    assert all(not each.yours for table in board.tables for each in table.rows)
    assert list(board.outside) == ["toy"]
    assert "demonstration collection" in board.outside["toy"]
    assert "toy stands in no table" in markdown(board)


def test_what_differs_in_protocol_is_said(entry: Make) -> None:
    made = entry(
        data={"split": "validation"},
        settings={
            "limit": 100,
            "indication": True,
            "image": False,
            "shard": "1/4",
            "sample_ids": "3 chosen",
            "tokens": "v1",
        },
        part={"n_error": 7, "counts": {"image file missing": 30, "study without a frontal image": 4}},
        limited_to_images=True,
    )
    found = row(build_board([made]), "table-1")
    assert found is not None
    assert found.notes == (
        "not comparable with the printed rows: split validation, the table's is test; only the first 100 samples; "
        "only samples chosen by id; only part 1/4 of the patients; 30 samples without a usable image left out",
        "with the indication in the prompt",
        "without the image",
        "new tokens as in the release v1",
        "500 samples of 400 studies",
        "7 failed, counted as the worst answer",
    )
    assert not found.comparable


@pytest.mark.parametrize(
    ("source", "counts", "reason"),
    [
        ("mimic-cxr", {"study without a findings section": 2800, "study without a frontal image": 69}, None),
        ("mimic-cxr", {}, "400 studies in the test split, the official one has 3,269"),
        ("mimic-cxr", {"study without a findings section": 4000}, "4,400 studies in the test split"),
        ("mimic-cxr", {"failed: timeout": 3000}, "400 studies in the test split"),
        ("iu-xray", {"study without a frontal image": 190}, None),
        ("iu-xray", {"study without a frontal image": 170}, "570 studies in the test split, the official one has 590"),
    ],
)
def test_a_split_of_another_size_than_the_official_one_is_not_comparable(
    entry: Make, source: str, counts: dict[str, int], reason: str | None
) -> None:
    board = build_board([entry(source, part={"counts": counts})])
    found = row(board, "table-1")
    assert found is not None
    assert found.comparable is (reason is None)
    assert (reason is None) == ("not comparable" not in " ".join(found.notes))
    assert reason is None or reason in found.notes[0]
    assert ("mine (yours, not comparable)" in markdown(board)) is (reason is not None)


def test_part_of_the_official_split_is_not_taken_for_another_split(entry: Make) -> None:
    whole = {"study without a findings section": 2669, "beyond --limit": 900}
    found = row(build_board([entry(settings={"limit": 100}, part={"n_studies": 90, "counts": whole})]), "table-1")
    assert found is not None
    assert found.notes[0] == "not comparable with the printed rows: only the first 100 samples"


@pytest.mark.parametrize(
    ("signature", "stands"),
    [
        ("bertscore|distilroberta-base@12ab|layer:5|baseline:distilroberta-base@34cd|no-idf|transformers:5|v1", True),
        ("bertscore|distilroberta-base@12ab|layer:5|baseline:none|no-idf|transformers:5|v1", False),
        ("bertscore|roberta-large@12ab|layer:17|baseline:roberta-large@34cd|no-idf|transformers:5|v1", False),
    ],
)
def test_a_bertscore_needs_the_papers_encoder_and_its_baseline(entry: Make, signature: str, stands: bool) -> None:
    scored = entry().evaluations["report_generation"].metrics["bleu4"].model_dump() | {"signature": signature}
    found = row(build_board([entry(metrics={"bertscore": scored})]), "table-1")
    assert values(found)[2] == (0.101 if stands else None)


def test_null_metrics_say_why(entry: Make) -> None:
    null = {"value": None, "ci95": None, "n": 500, "n_error": 0, "higher_is_better": True, "unavailable": "no Java"}
    signature = "meteor|protocol:radialog|v1"
    found = row(build_board([entry(metrics={"meteor": null | {"signature": signature}})]), "table-5")
    assert found is not None
    assert any("no Java" in note for note in found.notes)


def test_runs_of_one_name_are_told_apart(entry: Make) -> None:
    assert run_names([entry(), entry(name="other")]) == ["mine", "other"]
    assert run_names([entry(), entry("iu-xray")]) == ["mine on mimic-cxr", "mine on iu-xray"]
    assert run_names([entry(), entry()]) == ["mine on mimic-cxr (ffffffff)", "mine on mimic-cxr (ffffffff) #2"]


def test_the_highest_printed_value_is_marked_and_no_run_is(entry: Make) -> None:
    board = build_board([entry(metrics={})])
    best = {each.method for each in board.tables[0].rows if each.cells[1].best}
    assert best == {"RaDialog-project-report"}
    assert not any(cell.best for cell in board.tables[0].rows[-1].cells)


def test_markdown_and_json_hold_the_whole_board(entry: Make) -> None:
    board = build_board([entry(name="my | model")])
    text = markdown(board)
    assert "| my \\| model (yours) |" in text
    assert "| R2GenGPT | yes | 24.7 |" in text
    widths = {line.count("|") - line.count("\\|") for line in text.splitlines() if line.startswith("| LLaVA-Med | no")}
    assert widths == {13}
    assert Board.model_validate_json(board.model_dump_json()) == board
    assert json.loads(board.model_dump_json())["tables"][0]["rows"][0]["method"] == "LLaVA-Med"


def test_every_measure_of_the_paper_is_a_metric_of_its_evaluation() -> None:
    reference = load_reference()
    kinds = {kind.name: kind for kind in EVALUATIONS}
    for table in reference.tables:
        for column in table.columns:
            if column.evaluation not in kinds:
                continue
            sheet = Sheet([], ScoringSettings(open_labeler("rules")))
            kinds[column.evaluation]().score([], list[Conversation](), sheet)
            assert column.measure is not None
            assert reference.measures[column.measure].metric in {*sheet.metrics, "meteor", "bertscore"}, column

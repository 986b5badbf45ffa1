from __future__ import annotations

import pytest

from radialog_bench.report import samples as module
from radialog_bench.report.pictures import Pictures
from radialog_bench.report.samples import SampleList, list_samples
from radialog_bench.results import SampleRecord


def record(name: str, score: float | None = None, error: str | None = None, **more) -> SampleRecord:
    values = {
        "id": f"e/{name}/{name}",
        "study_id": name,
        "subject_id": name,
        "images": (),
        "dialog": ({"role": "user", "content": "ask"}, {"role": "assistant", "content": "said"}),
        "prediction": None if error else "said",
        "reference": "true",
        "scores": {} if score is None else {"bleu4": score},
        "error": error,
    }
    return SampleRecord(**(values | more))


def listed(records: list[SampleRecord], **options) -> SampleList:
    return list_samples("e", records, Pictures(), **({"private": False, "higher_is_better": True} | options))


def names(found: SampleList) -> list[str]:
    return [view.name for view in found.shown]


def test_failed_samples_stand_first_then_the_worst_then_those_without_a_score() -> None:
    records = [record("good", 0.9), record("none"), record("bad", 0.1), record("gone", error="timeout: late")]
    assert names(listed(records)) == ["gone", "bad", "good", "none"]
    assert names(listed(records, higher_is_better=False)) == ["gone", "good", "bad", "none"]
    assert listed(records).order == "bleu4"


def test_without_scores_samples_are_ordered_by_the_findings_that_differ() -> None:
    records = [
        record("same", parsed="edema", reference_parsed="edema"),
        record("two", parsed="edema", reference_parsed="fracture"),
        record("one", parsed="edema, fracture", reference_parsed="fracture"),
    ]
    found = listed(records)
    assert names(found) == ["two", "one", "same"]
    assert found.order == "findings that differ"
    assert found.findings == ("Edema", "Fracture")


def test_of_many_the_worst_half_and_an_even_spread_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SAMPLES", 10)
    found = listed([record(f"s{n:03}", n / 100) for n in range(100)])
    assert names(found)[:5] == ["s000", "s001", "s002", "s003", "s004"]
    assert names(found)[5:] == ["s005", "s029", "s052", "s075", "s099"]
    assert found.n == 100


def test_failures_are_listed_by_kind_with_a_link_to_what_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SAMPLES", 4)
    kinds = ["timeout", "adapter", "timeout", "timeout", "timeout", "timeout"]
    records = [record(f"s{n}", error=f"{kind}: why {n}") for n, kind in enumerate(kinds)]
    found = listed(records).failures
    assert [(each.kind, each.n) for each in found] == [("adapter", 1), ("timeout", 5)]
    assert found[1].listed[0] == ("e-1", "e/s0/s0", "why 0")
    assert (None, "e/s4/s4", "why 4") in found[1].listed
    assert listed(records, private=True).failures[1].listed[0][2] == ""


def test_the_answer_is_taken_out_of_the_dialog_only_where_it_is_its_last_turn() -> None:
    asked = ({"role": "user", "content": "ask"},)
    for dialog, turns in ((asked, 1), ((*asked, {"role": "assistant", "content": "said"}), 1)):
        assert len(listed([record("s", dialog=dialog)]).shown[0].turns) == turns
    unanswered = (*asked, {"role": "assistant", "content": "draft"}, {"role": "user", "content": "again"})
    assert len(listed([record("s", dialog=unanswered, prediction="")]).shown[0].turns) == 3


def test_a_very_long_dialog_is_cut_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TURNS", 4)
    view = listed([record("s", dialog=({"role": "user", "content": "ask"},) * 9)]).shown[0]
    assert (len(view.turns), view.turns_hidden) == (4, 5)


def test_a_correction_is_compared_with_its_draft_too() -> None:
    parts = {"draft": "the heart is enlarged today", "corrected": "the heart is not enlarged today"}
    view = listed(
        [record("s", scores={"corrected_rouge_l": 1.0}, parts=parts, prediction=parts["corrected"], reference="true")]
    ).shown[0]
    assert [title for title, _ in view.words] == ["From reference to answer", "From draft to corrected report"]

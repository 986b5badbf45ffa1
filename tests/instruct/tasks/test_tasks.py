from __future__ import annotations

from collections import Counter

import pytest

from radialog_instruct.prompts import CONSTANTS, default_prompts
from radialog_instruct.records import Sample, Split, TargetSource, View
from radialog_instruct.tasks import TASKS, Skip, Task, TaskContext
from radialog_instruct.tasks.balance import Balance, BalanceCounter, question_rank
from radialog_instruct.tasks.findings_qa import ASKED_FINDINGS, FindingsQABinary, FindingsQAComplete
from radialog_instruct.tasks.impression import Impression
from radialog_instruct.tasks.report_generation import ReportGeneration
from radialog_instruct.tasks.view_classification import ViewClassification

REPORT = "The heart is enlarged. No pleural effusion."


def made(task: Task, study: object) -> tuple[list[Sample], Counter[str]]:
    results = list(task.samples(study))  # type: ignore[arg-type]
    samples = [r for r in results if isinstance(r, Sample)]
    return samples, Counter(r.reason for r in results if isinstance(r, Skip))


def test_report_generation_gives_one_dialog_an_image(make_study) -> None:
    samples, skips = made(ReportGeneration(), make_study(views=(View.PA, View.LATERAL)))
    assert [s.image.image_id for s in samples if s.image] == ["s1-0", "s1-1"]
    assert all(s.turns[-1].content == REPORT and len(s.turns) == 2 for s in samples)
    assert all(s.report_turn is None and s.target_source is TargetSource.REPORT for s in samples)
    assert not skips


@pytest.mark.parametrize(
    ("task", "change", "reason"),
    [
        (ReportGeneration, {"findings": None}, "no findings section"),
        (ReportGeneration, {"views": ()}, "no image"),
        (Impression, {"impression": None}, "no impression section"),
        (Impression, {"findings": None}, "no findings section"),
        (FindingsQAComplete, {"findings": None}, "no findings section"),
        (ViewClassification, {"views": ()}, "no image"),
        (ViewClassification, {"views": (View.FRONTAL,)}, "view FRONTAL is none of the four"),
        (ViewClassification, {"views": (None,)}, "view unknown is none of the four"),
    ],
)
def test_what_cannot_be_made_is_counted_with_its_reason(make_study, task, change, reason) -> None:
    samples, skips = made(task(), make_study(**change))
    assert samples == []
    assert skips == {reason: 1}


def test_a_report_in_the_history_is_turn_one_behind_the_published_prompt(make_study) -> None:
    (sample,), _ = made(Impression(), make_study())
    assert [t.role for t in sample.turns] == ["user", "assistant", "user", "assistant"]
    assert sample.turns[0].content == default_prompts().render(CONSTANTS, "report")
    assert sample.turns[1].content == REPORT
    assert sample.turns[3].content == "Cardiomegaly."
    assert sample.report_turn == 1


def test_text_tasks_live_without_images(make_study) -> None:
    study = make_study(views=())
    for task in (Impression, FindingsQAComplete, FindingsQABinary):
        samples, _ = made(task(), study)
        assert samples
        assert all(s.image is None for s in samples)


def test_complete_findings_are_listed_and_never_empty(make_study) -> None:
    (positive,), _ = made(FindingsQAComplete(), make_study(labels={"Edema": 1, "Cardiomegaly": 1, "Fracture": -1}))
    (nothing,), _ = made(FindingsQAComplete(), make_study(labels={"Fracture": -1}))
    (normal,), _ = made(FindingsQAComplete(), make_study(labels={"No Finding": 1}))
    answers = [s.turns[-1].content for s in (positive, nothing, normal)]
    assert answers == ["cardiomegaly, edema", "no common findings", "no finding"]
    assert positive.labeler == "rules"


def test_binary_questions_ask_thirteen_classes_and_no_uncertain_one(make_study) -> None:
    study = make_study(labels={"Edema": 1, "Pneumonia": -1, "Fracture": 0})
    samples, skips = made(FindingsQABinary(), study)
    answers = {s.slot: s.turns[-1].content for s in samples}
    assert set(answers) == set(ASKED_FINDINGS) - {"Pneumonia"}
    assert answers.pop("Edema") == "yes"
    assert set(answers.values()) == {"no"}
    assert skips == {"uncertain label": 1}
    assert all(s.slot.lower() in s.turns[-2].content for s in samples)


def test_views_are_answered_in_the_tasks_words(make_study) -> None:
    samples, _ = made(ViewClassification(), make_study(views=(View.AP, View.PA, View.LL, View.LATERAL)))
    assert [s.turns[-1].content for s in samples] == ["AP", "PA", "LL", "lateral"]
    (bare,), _ = made(ViewClassification(), make_study(findings=None))
    assert (len(bare.turns), bare.report_turn) == (2, None)


def test_variants_depend_on_seed_and_study_and_use_all_ten(make_study) -> None:
    def variants(seed: int) -> list[str]:
        task = Impression(TaskContext(seed=seed))
        return [made(task, make_study(f"s{i}"))[0][0].template.template_id for i in range(200)]

    assert variants(0) == variants(0)
    assert variants(0) != variants(1)
    assert len(set(variants(0))) == 10


@pytest.mark.parametrize("share", [0.5, 0.25])
def test_the_balance_reaches_the_wanted_share_in_each_class_and_split(make_study, share: float) -> None:
    # One study in five shows edema, nine in ten a fracture: either answer can be the scarce one.
    studies = [
        make_study(
            f"s{i}",
            split=Split.TEST if i % 3 == 0 else Split.TRAIN,
            labels={"Edema": int(i % 5 == 0), "Fracture": int(i % 10 != 0)},
        )
        for i in range(600)
    ]
    counter = BalanceCounter(share)
    for study in studies:
        for finding, positive in (
            ("Edema", study.labels["rules"][5] == 1),
            ("Fracture", study.labels["rules"][12] == 1),
        ):
            counter.add(study.split, finding, positive, question_rank(0, study, study.images[0], finding))
    task = FindingsQABinary(TaskContext(balance=counter.balance()))
    counts: Counter[tuple[Split, str, str]] = Counter()
    for study in studies:
        for sample in made(task, study)[0]:
            counts[study.split, sample.slot, sample.turns[-1].content] += 1
    for split in (Split.TRAIN, Split.TEST):
        for finding in ("Edema", "Fracture"):
            yes, no = counts[split, finding, "yes"], counts[split, finding, "no"]
            assert yes > 0
            assert yes / (yes + no) == pytest.approx(share, abs=0.02)
    if share == 0.5:  # the scarce answer is kept whole
        assert counts[Split.TRAIN, "Edema", "yes"] == sum(i % 5 == 0 and i % 3 != 0 for i in range(600))


def test_a_class_that_is_never_positive_is_not_asked() -> None:
    counter = BalanceCounter()
    counter.add(Split.TRAIN, "Edema", False, 5)
    assert not counter.balance().keeps(Split.TRAIN, "Edema", False, 5)
    assert Balance().keeps(Split.TRAIN, "Edema", False, 5)


def test_task_names_codes_and_templates_are_distinct() -> None:
    assert len({task.name for task in TASKS}) == len({task.legacy_code for task in TASKS}) == len(TASKS)

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from radialog_instruct.mixtures import TaskMix, Unit
from radialog_instruct.prompts import CONSTANTS, default_prompts
from radialog_instruct.records import (
    Explanation as Sentence,
)
from radialog_instruct.records import (
    Sample,
    Sections,
    Split,
    StructuredQuestion,
    StructuredReport,
    TargetSource,
    View,
)
from radialog_instruct.tasks import TASKS, Overlap, Skip, Slot, Task, TaskContext
from radialog_instruct.tasks.base import is_placeholder
from radialog_instruct.tasks.explanation import Explanation, join_names
from radialog_instruct.tasks.findings_qa import ASKED_FINDINGS, FindingsQABinary, FindingsQAComplete
from radialog_instruct.tasks.impression import Impression
from radialog_instruct.tasks.rad_restruct_qa import RadReStructQA
from radialog_instruct.tasks.report_generation import ReportGeneration
from radialog_instruct.tasks.selection import Selection
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


def test_task_names_codes_and_templates_are_distinct() -> None:
    assert len({task.name for task in TASKS}) == len({task.legacy_code for task in TASKS}) == len(TASKS)


def test_the_indication_stands_before_the_instruction_where_it_is_wanted(make_study) -> None:
    study = replace(make_study(), sections=Sections(indication="Cough.", findings=REPORT))
    with_it = ReportGeneration(TaskContext(mix={"report_generation": TaskMix(indication=True)}))
    (plain,), _ = made(ReportGeneration(), study)
    (led,), _ = made(with_it, study)
    assert led.turns[0].content == f"Indication: Cough. {plain.turns[0].content}"
    (without,), _ = made(with_it, make_study())
    assert "Indication" not in without.turns[0].content


def test_an_explanation_must_occur_in_the_findings(make_study) -> None:
    sentences = (
        Sentence("s1#0", ("Cardiomegaly",), "the heart is enlarged."),
        Sentence("s1#1", ("Edema", "Pneumonia", "Lung Opacity"), "No pleural effusion."),
        Sentence("s1#2", ("Edema",), "Blurred vessels."),
    )
    samples, skips = made(Explanation(), replace(make_study(), explanations=sentences))
    assert [s.turns[-1].content for s in samples] == ["the heart is enlarged.", "No pleural effusion."]
    assert "cardiomegaly" in samples[0].turns[-2].content
    assert "edema, pneumonia and lung opacity" in samples[1].turns[-2].content
    assert skips == {"the explanation is not in the findings section": 1}
    assert join_names(("Edema",)) == "edema"


YES_NO = ("yes", "no")
AREA, FINDING, WHERE = "Any signs in the lung?", "Is there opacity?", "In which part?"
QUESTIONS = (
    StructuredQuestion("lung_signs", AREA, YES_NO, ("yes",), (), "single_choice"),
    StructuredQuestion("lung_signs_opacity", FINDING, YES_NO, ("yes",), ((AREA, ("yes",)),), "single_choice"),
    StructuredQuestion(
        "lung_signs_opacity_body_region",
        WHERE,
        ("apex", "base", "hilum"),
        ("apex", "hilum"),
        ((AREA, ("yes",)), (FINDING, ("yes",))),
        "multi_choice",
    ),
    StructuredQuestion(
        "lung_signs_nodule", "Is there a nodule?", YES_NO, ("no",), ((AREA, ("yes",)),), "single_choice"
    ),
)


def test_structured_questions_carry_options_and_the_path_that_led_to_them(make_study) -> None:
    study = replace(make_study(views=(View.PA, View.LATERAL)), structured=StructuredReport(QUESTIONS, ("s1-0",)))
    samples, skips = made(RadReStructQA(), study)
    assert not skips
    assert [s.turns[-1].content for s in samples] == ["yes", "yes", "apex, hilum", "no"]
    assert {s.image.image_id for s in samples if s.image} == {"s1-0"}  # the lateral image was not the report's
    choice = samples[2]
    assert [t.content for t in choice.turns[:4]] == [AREA, "yes", FINDING, "yes"]
    assert "apex, base, hilum" in choice.turns[4].content
    assert WHERE in choice.turns[4].content
    assert choice.report_turn is None
    assert len({s.slot for s in samples}) == 4
    _, skips = made(RadReStructQA(), replace(make_study(), structured=StructuredReport(QUESTIONS, ("other",))))
    assert skips == {"no frontal image": 1}


def test_a_choice_follows_the_yes_above_it(make_study) -> None:
    study = replace(make_study(), structured=StructuredReport(QUESTIONS, ("s1-0",)))
    slots = {slot.key: slot for slot in RadReStructQA().slots(study) if isinstance(slot, Slot)}
    parent, choice = slots["lung_signs_opacity#0"], slots["lung_signs_opacity_body_region#0"]
    assert (choice.stratum, choice.rank, choice.follows) == (parent.stratum, parent.rank, True)
    assert parent.stratum == "lung_signs|finding|yes"
    dropped = Selection({("rad_restruct_qa", "train", parent.stratum): parent.rank - 1})
    samples, _ = made(RadReStructQA(TaskContext(selection=dropped)), study)
    assert [s.slot for s in samples] == ["lung_signs#0", "lung_signs_nodule#0"]


@pytest.mark.parametrize(
    ("official", "overlap", "report_split", "structured_split"),
    [
        ({"test": Split.TRAIN, "rad-restruct": Split.TRAIN}, Overlap.STRICT, Split.TRAIN, Split.TRAIN),
        ({"test": Split.TEST, "rad-restruct": Split.TRAIN}, Overlap.STRICT, Split.TEST, None),
        ({"test": Split.TRAIN, "rad-restruct": Split.TEST}, Overlap.STRICT, None, Split.TEST),
        ({"test": Split.VALIDATION, "rad-restruct": Split.TEST}, Overlap.STRICT, None, Split.TEST),
        ({"test": Split.TRAIN, "rad-restruct": Split.TEST}, Overlap.PAPER, Split.TRAIN, Split.TEST),
        ({"rad-restruct": Split.VALIDATION}, Overlap.STRICT, Split.VALIDATION, Split.VALIDATION),
        ({}, Overlap.STRICT, Split.TRAIN, Split.TRAIN),
    ],
)
def test_a_study_of_any_official_test_split_leaves_training(
    make_study, official, overlap, report_split, structured_split
) -> None:
    study = replace(make_study(), official=official, structured=StructuredReport(QUESTIONS, ("s1-0",)))
    for task, expected in ((ReportGeneration, report_split), (RadReStructQA, structured_split)):
        samples, skips = made(task(TaskContext(overlap=overlap)), study)
        assert {s.split for s in samples} == ({expected} if expected else set())
        if expected is None:
            assert set(skips) == {f"in the test split of {max(official, key=lambda n: official[n] == Split.TEST)}"}


def test_the_unit_study_takes_the_first_image_alone(make_study) -> None:
    task = ReportGeneration(TaskContext(unit=Unit.STUDY))
    samples, _ = made(task, make_study(views=(View.PA, View.LATERAL)))
    assert [s.image.image_id for s in samples if s.image] == ["s1-0"]


@pytest.mark.parametrize(
    ("text", "nothing"),
    [
        ("", True),
        ("___.", True),
        ("XXXX", True),
        ("None.", True),
        ("N/A", True),
        ("See above.", True),
        ("Normal.", False),
        ("No change since ___.", False),
        ("xx", False),
    ],
)
def test_placeholders_are_no_targets(text: str, nothing: bool) -> None:
    assert is_placeholder(text) is nothing

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from radialog_instruct.findings import FINDINGS, make_labels, positives
from radialog_instruct.labeling import rules
from radialog_instruct.prompts import CONSTANTS, default_prompts
from radialog_instruct.records import Draft, Sample, View
from radialog_instruct.sources import open_source
from radialog_instruct.tasks import REPLAY_TASKS, TASKS, Skip, TaskContext
from radialog_instruct.tasks.correction import Correction
from radialog_instruct.tasks.drafts import INJECTED, inject_errors, report_errors
from radialog_instruct.tasks.easy_language import EasyLanguage
from radialog_instruct.tasks.region_qa import REGIONS, RegionQA, is_abnormal
from radialog_instruct.tasks.summarization import Summarization

REPORT = (
    "The heart is enlarged. There is a small left pleural effusion. The lungs are otherwise clear without focal "
    "consolidation. No pneumothorax is seen. The bony structures are intact and the mediastinum is unremarkable."
)
DRAFT = (
    "The heart is enlarged. There is a rib fracture on the left. The lungs are otherwise clear without focal "
    "consolidation. No pneumothorax is seen. The mediastinum is unremarkable."
)
FIXED = DRAFT.replace("There is a rib fracture on the left.", "There is a small left pleural effusion.")


@pytest.fixture
def study(make_study):
    return replace(make_study(findings=REPORT), labels={"rules": rules.label(REPORT)})


def only(task, study) -> Sample:
    (sample,) = [s for s in task.samples(study) if isinstance(s, Sample)]
    return sample


def test_the_four_tasks_come_last_and_wait_for_their_answer(study) -> None:
    assert REPLAY_TASKS == ("correction", "summarization", "easy_language", "region_qa")
    for kind in TASKS:
        for sample in kind().samples(study):
            if isinstance(sample, Skip):
                continue
            waits = kind.name in REPLAY_TASKS
            assert (sample.ask is not None) is waits
            assert sample.turns[-1].role == ("user" if waits else "assistant")


@pytest.mark.parametrize("name", REPLAY_TASKS)
def test_every_task_has_ten_wordings_of_each_kind(name: str) -> None:
    blocks = default_prompts().variants(name)
    families = Counter(block.rpartition("v")[0] for block in blocks)
    assert set(families.values()) == {10}
    assert set(families) == ({"add_", "remove_", "both_"} if name == "correction" else {""})


@pytest.mark.parametrize("task", [Summarization, EasyLanguage, RegionQA])
def test_a_question_about_a_report_shows_the_report_to_both(study, task) -> None:
    sample = only(task(), study)
    assert [t.role for t in sample.turns] == ["user", "assistant", "user"]
    assert sample.turns[0].content == default_prompts().render(CONSTANTS, "report")
    assert sample.turns[1].content == REPORT
    assert sample.report_turn == 1
    assert sample.ask is not None
    assert REPORT in sample.ask.messages[-1].content
    assert sample.turns[-1].content in sample.ask.messages[-1].content
    assert [turn.role for turn in sample.ask.messages] == ["system", "user"]


def test_two_images_of_a_study_ask_the_same(make_study) -> None:
    samples = [s for s in Summarization().samples(make_study(views=(View.PA, View.LATERAL))) if isinstance(s, Sample)]
    assert len(samples) == 2
    by_instruction = {s.turns[-1].content for s in samples}
    assert len({s.ask for s in samples}) == len(by_instruction)


@pytest.mark.parametrize("findings", [None, "XXXX."])
def test_a_study_without_a_report_is_counted(make_study, findings) -> None:
    for name in REPLAY_TASKS:
        kind = next(kind for kind in TASKS if kind.name == name)
        (skip,) = kind().samples(make_study(findings=findings))
        assert isinstance(skip, Skip)
        assert "findings section" in skip.reason


def test_easy_language_takes_other_words_and_no_new_finding(study) -> None:
    task = EasyLanguage()
    sample = only(task, study)

    def reasons(text: str) -> tuple[str, ...]:
        return task.accept(text, sample).reasons

    assert reasons("Your heart is a bit larger than normal and there is some water beside the left lung.") == ()
    assert reasons(REPORT) == ("copies the report",)
    assert "asserts a finding that the report does not" in reasons(
        "Your heart is a bit larger than normal. There is also pneumonia in the right lung, sadly."
    )
    assert "too short" in reasons("A large heart.")
    assert reasons("Your heart is a bit larger than normal. There is no pleural effusion on either side of it.") == (
        "denies a finding of the report",
    )


def test_a_summary_is_shorter_than_its_report(study) -> None:
    task = Summarization()
    sample = only(task, study)
    assert task.accept("- Enlarged heart\n- Small left pleural effusion", sample).accepted
    assert task.accept(f"{REPORT} And so on.", sample).reasons == ("not shorter than the report",)
    assert task.accept("The bony structures are intact.", sample).reasons == ("leaves out every finding",)


def test_a_short_report_said_again_is_no_summary(make_study) -> None:
    task = Summarization()
    short = replace(make_study(findings="The heart is enlarged. No pleural effusion is seen."))
    sample = only(task, short)
    assert task.accept("The heart is enlarged. No pleural effusion is seen.", sample).reasons == ("copies the report",)
    assert task.accept("Enlarged heart, nothing else.", sample).accepted


def test_region_questions_are_held_to_the_labels(study) -> None:
    task = RegionQA()
    for region in REGIONS:
        for variant in default_prompts().variants("region_qa"):
            healthy = variant in ("v01", "v05", "v08", "v10")
            slot = next(s for s in task.slots(study) if not isinstance(s, Skip))
            sample = task.make(study, slot._replace(key=region.name), study.split)
            template = replace(sample.template, template_id=f"region_qa/{variant}")
            sample = replace(sample, template=template)
            abnormal = is_abnormal(region, rules.label(REPORT))
            right = "Yes" if abnormal is not healthy else "No"
            wrong = "No" if right == "Yes" else "Yes"
            good = task.accept(f"{right}, the report says so about the {region.name}.", sample)
            bad = task.accept(f"{wrong}, the report says so about the {region.name}.", sample)
            if abnormal is None:  # a class that is not mentioned, in a report with other findings
                assert good.flags == bad.flags == ("unchecked",)
            else:
                assert (good.reasons, bad.reasons) == ((), ("disagrees with the labels",)), (region, variant)
    assert task.accept("The heart is enlarged.", sample).reasons == ("neither yes nor no",)


def test_regions_are_abnormal_healthy_or_open() -> None:
    heart, _, lungs, pleura, _ = REGIONS
    assert is_abnormal(heart, make_labels({"Cardiomegaly": 1})) is True
    assert is_abnormal(lungs, make_labels({"Edema": -1})) is None
    assert is_abnormal(pleura, make_labels({"Cardiomegaly": 1})) is None
    assert is_abnormal(pleura, make_labels({"No Finding": 1})) is False


def test_wordings_of_a_region_fit_its_number() -> None:
    render = default_prompts().render
    assert render("instruct/region_qa", "v01", region="heart", plural=False) == "Is the patient's heart healthy?"
    assert render("instruct/region_qa", "v01", region="lungs", plural=True) == "Are the patient's lungs healthy?"
    assert render("instruct/region_qa", "v05", region="lungs", plural=True) == "Do the lungs look normal?"


def with_draft(study, text: str = DRAFT):
    image = study.images[0].image_id
    return replace(study, drafts=(Draft(image, text, rules.label(text), "some-model"),))


def test_a_correction_asks_for_what_is_missing_and_what_is_wrong(study) -> None:
    task = Correction(TaskContext(run_drafts=True))
    sample = only(task, with_draft(study))
    assert sample.turns[1].content == DRAFT
    assert sample.template.template_id.startswith("correction/both_v")
    question = sample.turns[-1].content.lower()
    assert "pleural effusion" in question
    assert "fracture" in question
    assert sample.findings_text == "cardiomegaly, fracture"
    assert sample.flags == ()
    asked = sample.ask.messages[-1].content if sample.ask else ""
    assert "patient has: pleural effusion" in asked
    assert "about: fracture" in asked


def test_a_corrected_report_gains_loses_and_keeps_what_it_should(study) -> None:
    task = Correction(TaskContext(run_drafts=True))
    sample = only(task, with_draft(study))
    expected = {
        FIXED: (),
        DRAFT: ("the report is unchanged",),
        FIXED.replace("There is a small left pleural effusion. ", ""): ("a missing finding is still missing",),
        DRAFT.replace("No pneumothorax", "There is a small left pleural effusion. No pneumothorax"): (
            "a wrong finding is still there",
        ),
        FIXED.replace("The heart is enlarged. ", ""): ("another finding was lost",),
        f"{FIXED} There is bibasilar atelectasis.": ("another finding was added",),
        "Cardiomegaly and small left pleural effusion.": ("rewrites the report",),
    }
    for text, reasons in expected.items():
        assert task.accept(text, sample).reasons == reasons, text


def test_a_draft_without_errors_gives_no_correction(study) -> None:
    task = Correction(TaskContext(run_drafts=True))
    assert [s.reason for s in task.samples(with_draft(study, REPORT))] == ["the draft has no error"]
    assert [s.reason for s in task.samples(study)] == ["no draft"]


def test_errors_are_counted_as_in_the_papers_protocol() -> None:
    draft = make_labels({"Edema": 1, "Pneumonia": -1, "No Finding": 1})
    reference = make_labels({"Edema": -1, "Pneumonia": 1, "Fracture": 0})
    errors = report_errors(draft, reference)
    assert (errors.missing, errors.wrong, errors.family) == (("Pneumonia",), ("Edema",), "both")
    assert not report_errors(reference, reference)


def test_every_injected_sentence_asserts_its_class_and_no_other() -> None:
    prompts = default_prompts()
    blocks = prompts.blocks("replay/errors")
    assert len(blocks) == 2 * 13
    for block in blocks:
        found = set(positives(rules.label(prompts.render("replay/errors", block)))) - {"No Finding"}
        assert {name.lower().replace(" ", "_") for name in found} == {block.rpartition("_v")[0]}, block


def test_injected_errors_are_real_and_follow_from_the_seed() -> None:
    families: Counter[str] = Counter()
    for study in open_source("demo").studies():
        labels = study.labels["rules"]

        def draft(seed: int, image: str = "", study=study, labels=labels) -> Draft | None:
            return inject_errors(study, image, labels, rules.label, default_prompts(), seed)

        made = draft(0)
        assert made == draft(0)
        assert made is not None
        assert made.model == INJECTED
        assert made.text != study.sections.findings
        assert made.labels == rules.label(made.text)
        families[report_errors(made.labels, labels).family] += 1
    assert set(families) == {"add", "remove", "both"}
    assert all(n >= 5 for n in families.values())


def test_corrections_from_injected_errors_say_so(study) -> None:
    sample = only(Correction(), study)
    assert sample.flags == ("injected draft",)
    assert len(FINDINGS) == 14

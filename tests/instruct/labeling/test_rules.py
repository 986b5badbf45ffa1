from __future__ import annotations

import csv
from pathlib import Path

import pytest

from radialog_instruct.findings import FINDINGS, make_labels, positives
from radialog_instruct.labeling import rules
from radialog_instruct.labeling.rules import label, label_many, signature
from radialog_instruct.synth import sentences as sentence_bank


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("The lungs are clear.", {"No Finding": 1}),
        ("The heart is enlarged.", {"Cardiomegaly": 1}),
        ("Heart size is normal.", {"Cardiomegaly": 0, "No Finding": 1}),
        ("Heart size is at the upper limits of normal.", {"Cardiomegaly": -1}),
        ("The heart is not enlarged.", {"Cardiomegaly": 0, "No Finding": 1}),
        ("No pleural effusion or pneumothorax.", {"Pleural Effusion": 0, "Pneumothorax": 0, "No Finding": 1}),
        ("No pneumothorax but a small pleural effusion.", {"Pneumothorax": 0, "Pleural Effusion": 1}),
        ("Cardiomegaly without edema.", {"Cardiomegaly": 1, "Edema": 0}),
        ("Possible pneumonia.", {"Pneumonia": -1}),
        ("Pneumonia cannot be excluded.", {"Pneumonia": -1}),
        ("Opacity that may represent atelectasis.", {"Lung Opacity": 1, "Atelectasis": -1}),
        ("Small pericardial effusion.", {"No Finding": 1}),
        ("The appearance is consistent with edema.", {"Edema": 1}),
        ("Sternotomy wires and a pacemaker are in place.", {"Support Devices": 1, "No Finding": 1}),
        ("Emphysema.", {}),
        ("Calcified nodule.", {"Lung Lesion": 1}),
        ("Residual of prior granulomatous infection.", {}),
        ("The pneumothorax has resolved.", {"Pneumothorax": 0, "No Finding": 1}),
        ("There is XXXX edema. ___ consolidation is absent.", {"Edema": 1, "Consolidation": 0}),
        ("1. Pleural thickening. 2. Rib fracture.", {"Pleural Other": 1, "Fracture": 1}),
        ("The mediastinum is widened.", {"Enlarged Cardiomediastinum": 1}),
        ("Nodule in the left lung measuring 1.5 cm.", {"Lung Lesion": 1}),
        ("There is edema. No edema was seen before.", {"Edema": 1}),
        ("Vascular congestion.", {"Edema": -1}),
        ("No vascular congestion.", {"Edema": 0, "No Finding": 1}),
        ("Vascular congestion with edema.", {"Edema": 1}),
        ("Soft tissue edema of the ankle.", {"No Finding": 1}),
        ("Nodular opacity at the left base.", {"Lung Lesion": -1}),
        ("Opacity as in infection.", {"Lung Opacity": 1, "Pneumonia": -1}),
        ("CT is better at detecting small nodules.", {"No Finding": 1}),
        ("No change in the right pleural effusion.", {"Pleural Effusion": 1}),
        ("Atelectasis without significant interval change.", {"Atelectasis": 1}),
        ("Atelectasis versus pneumonia.", {"Atelectasis": 1, "Pneumonia": -1}),
        ("Scarring may be compatible with atelectasis.", {"Lung Opacity": 1, "Atelectasis": -1}),
        ("Probable small pleural effusion.", {"Pleural Effusion": 1}),
        ("A small effusion is suspected.", {"Pleural Effusion": -1}),
        ("Complete collapse of the left lung.", {"Atelectasis": 1}),
        ("Apical capping on the right.", {"Pleural Other": 1}),
        ("Masslike density in the right apex.", {"Lung Lesion": 1}),
        ("Pneumonia would be a consideration.", {"Pneumonia": -1}),
        ("Neither pneumothorax nor effusion.", {"Pneumothorax": 0, "Pleural Effusion": 0, "No Finding": 1}),
        (
            "Lungs free of consolidation, effusion and edema.",
            {"Consolidation": 0, "Pleural Effusion": 0, "Edema": 0, "No Finding": 1},
        ),
        ("PICC in place; no pneumothorax.", {"Support Devices": 1, "Pneumothorax": 0, "No Finding": 1}),
    ],
)
def test_mentions_negation_and_doubt(text: str, expected: dict[str, int]) -> None:
    assert label(text) == make_labels(expected)  # type: ignore[arg-type]


def test_order_of_texts_is_kept_and_the_signature_names_the_vocabulary() -> None:
    texts = ["Edema.", "No edema.", "Edema."]
    assert label_many(texts) == [label(text) for text in texts]
    assert signature().startswith("rules-v2-")


def test_the_demonstration_reports_say_what_their_public_labels_say() -> None:
    from radialog_instruct.sources import open_source

    for study in open_source("demo").studies():
        assert positives(study.labels["rules"]) == positives(study.labels["public"]), study.study_id


@pytest.mark.shared_data
def test_the_sample_reports_of_the_chexpert_labeler(shared_data: Path) -> None:
    folder = shared_data / "gold" / "chexpert_labeler"
    texts = [row[0] for row in csv.reader((folder / "sample_reports.csv").open())]
    with (folder / "labeled_reports.csv").open() as handle:
        rows = [{k: v for k, v in row.items() if k != "Reports"} for row in csv.DictReader(handle)]
    for text, row in zip(texts, rows, strict=True):
        assert label(text) == make_labels({k: int(float(v)) if v else None for k, v in row.items()})  # type: ignore[misc]


@pytest.mark.shared_data
def test_agreement_with_the_experts_codes_of_the_open_i_reports(shared_data: Path) -> None:
    from radialog_instruct.sources import open_source

    names = {
        "Atelectasis": "Atelectasis",
        "Cardiomegaly": "Cardiomegaly",
        "Effusion": "Pleural Effusion",
        "Pneumonia": "Pneumonia",
        "Pneumothorax": "Pneumothorax",
        "Consolidation": "Consolidation",
        "Edema": "Edema",
    }
    labels = {s.study_id: s.labels["rules"] for s in open_source("iu-xray", shared_data / "iu_xray").studies()}
    agreed = predicted = coded = 0
    with (shared_data / "gold" / "negbio_openi" / "openi_gld_std14.csv").open() as handle:
        for row in csv.DictReader(handle):
            for gold, name in names.items():
                ours = labels[row["filename"]][FINDINGS.index(name)] == 1
                theirs = row[gold] == "1"
                agreed, predicted, coded = agreed + (ours and theirs), predicted + ours, coded + theirs
    assert 2 * agreed / (predicted + coded) > 0.88


def unfiltered(sentence: str) -> dict[str, int | None]:
    """Try every pattern on a sentence, as if every word were a trigger."""
    every = tuple(rules._MENTIONS)
    triggered = dict.fromkeys({word[: rules._PREFIX] for word in rules._WORD.findall(sentence)}, every)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rules, "_TRIGGERED", triggered)
        return dict(rules._label_sentence(sentence))


def test_trying_only_triggered_patterns_changes_no_label() -> None:
    from radialog_instruct.sources import open_source

    sentences = {s for study in open_source("demo").studies() for s in rules._sentences(study.sections.findings or "")}
    for bank in (*sentence_bank.POSITIVE.values(), *sentence_bank.NEGATIVE.values(), *sentence_bank.UNCERTAIN.values()):
        sentences |= {rules._sentences(pattern)[0] for pattern in bank}
    assert len(sentences) > 100
    for sentence in sentences:
        assert dict(rules._label_sentence(sentence)) == unfiltered(sentence), sentence


@pytest.mark.shared_data
def test_triggers_miss_nothing_in_real_reports(shared_data: Path) -> None:
    from radialog_instruct.sources import open_source

    sentences: set[str] = set()
    for study in open_source("iu-xray", shared_data / "iu_xray").studies():
        sentences |= set(rules._sentences(f"{study.sections.findings}\n\n{study.sections.impression}"))
    sample = sorted(sentences)[::5]
    assert [s for s in sample if dict(rules._label_sentence(s)) != unfiltered(s)] == []


def test_the_cache_changes_no_label() -> None:
    text = "The heart is enlarged. No effusion. Possible edema."
    rules.clear_cache()
    assert label(text, cache=False) == label(text) == label(text)


def test_mentions_are_sentences_of_the_text_with_their_marks() -> None:
    text = " The heart is enlarged.  No pleural effusion is seen!\n\n1. Possible edema, 1.5 cm. XXXX"
    found = [(text[each.start : each.end], each.marks) for each in rules.mentions(text)]
    assert found == [
        ("The heart is enlarged.", {"Cardiomegaly": 1}),
        ("No pleural effusion is seen!", {"Pleural Effusion": 0}),
        ("Possible edema, 1.5 cm.", {"Edema": -1}),
        ("XXXX", {}),
    ]
    assert rules.mentions("") == rules.mentions(" 12. ") == []


def test_letters_that_grow_when_lowered_shift_no_offset() -> None:
    text = "İİİ. The heart is enlarged. Rest"
    assert text[rules.mentions(text)[1].start : rules.mentions(text)[1].end] == "The heart is enlarged."


def test_joined_mentions_are_the_label() -> None:
    from radialog_instruct.sources import open_source

    for study in open_source("demo").studies():
        text = study.sections.findings or ""
        joined: dict[str, set[int | None]] = {}
        for each in rules.mentions(text):
            for name, value in each.marks.items():
                joined.setdefault(name, set()).add(value)
        for name, value in zip(FINDINGS, rules.label(text), strict=True):
            if name != "No Finding" and value is not None:
                assert value in joined.pop(name)
        assert not joined

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from radialog_bench.report import samples as module
from radialog_bench.report import write_report
from radialog_instruct.errors import DataError, UsageError


def test_the_page_is_self_contained_and_escapes_everything(finished: Path) -> None:
    page = (finished / "report.html").read_text()
    assert page.count("<script") == 1
    assert "&lt;script&gt;window.hacked" in page
    assert "A notice &amp; a &lt;b&gt;tag" in page
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert "style=" not in page
    assert "http:" not in page
    assert "https:" not in page
    assert str(finished.parent) not in page


def test_style_and_script_are_allowed_by_their_hashes_alone(finished: Path) -> None:
    page = (finished / "report.html").read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert "unsafe" not in policy[1]
    assert policy[1].startswith("default-src 'none'")
    assert policy[1].count("sha256-") == 2


def test_each_image_stands_in_the_page_once(finished: Path) -> None:
    page = (finished / "report.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 24
    assert page.count("<use href=") == 24 * 6


def test_failures_empty_answers_and_counts_are_shown(finished: Path) -> None:
    page = (finished / "report.html").read_text()
    assert "adapter: secret &lt;i&gt;why" in page
    assert "(empty)" in page
    assert "1 \N{MULTIPLICATION SIGN} failed: adapter" in page
    assert "Confusion matrix" in page
    assert "Findings by class" in page
    assert re.search(r'<a href="#(view_classification-\d+)">view_classification/nih-00029696_000', page)


def test_the_overview_follows_the_benchs_order_and_names_each_headline(finished: Path) -> None:
    page = (finished / "report.html").read_text()
    cards = re.findall(r'<h3><a href="#(\w+)">', page)
    assert cards == [
        "report_generation",
        "correction",
        "findings_qa",
        "rad_restruct",
        "impression",
        "view_classification",
    ]
    assert "<b>CE macro F1</b>" in page
    assert "<b>\N{GREEK CAPITAL LETTER DELTA} CE macro F1</b>" in page


def test_credentialed_texts_labels_and_images_stay_out_unless_asked_for(edited) -> None:
    run = edited("results.json", lambda content: content["data"].update(terms="credentialed"))
    private = write_report(run).read_text()
    assert "the source is credentialed" in private
    for secret in ("AP. Cardiomegaly.", "secret", "data:image", "chip added", "read as:", "heart is enlarged"):
        assert secret not in private
    samples = [json.loads(line) for line in (run / "samples" / "impression.jsonl").read_text().splitlines()]
    assert not any(sample["reference"] in private for sample in samples)
    assert "AP. Cardiomegaly." in write_report(run, include_text=True).read_text()


def test_a_missing_image_has_a_placeholder(edited) -> None:
    run = edited("run.json", lambda content: None)
    path = run / "samples" / "view_classification.jsonl"
    path.write_text(re.sub(r'"images":\["[^"]*"\]', '"images":["/nowhere.jpg"]', path.read_text()))
    assert write_report(run).read_text().count("The image cannot be read") == 24
    path.write_text(re.sub(r'"images":\["[^"]*"\]', '"images":[]', path.read_text()))
    assert write_report(run).read_text().count("The image file is not on this machine") == 24


def test_null_undefined_and_infinite_scores_are_shown_as_none(edited) -> None:
    def break_scores(content: dict) -> None:
        metrics = content["evaluations"]["report_generation"]["metrics"]
        metrics["bleu1"].update(value=None, ci95=None, unavailable="no <labeler>")
        metrics["bleu2"].update(value=float("nan"), ci95=[float("nan"), float("nan")], ceiling=float("nan"))
        metrics["bleu3"].update(value=float("inf"), ci95=[float("-inf"), float("inf")])

    run = edited("results.json", break_scores)
    path = run / "samples" / "report_generation.jsonl"
    path.write_text(re.sub(r'"bleu4":[^,}]*', '"bleu4":NaN', path.read_text()))
    page = write_report(run).read_text()
    assert "no &lt;labeler&gt;" in page
    assert ">nan" not in page.lower()
    assert ">inf" not in page.lower()
    assert page.count('<td class="none">n/a</td>') == 3


def test_a_run_without_samples_or_evaluations_has_a_page(edited) -> None:
    run = edited("results.json", lambda content: content.update(evaluations={}))
    assert "The run holds no evaluation." in write_report(run).read_text()


def test_missing_sample_files_are_said(edited) -> None:
    run = edited("run.json", lambda content: None)
    for path in (run / "samples").iterdir():
        path.unlink()
    assert write_report(run).read_text().count("No samples are stored.") == 6


def test_a_damaged_sample_is_named_by_its_line(edited) -> None:
    run = edited("run.json", lambda content: None)
    with (run / "samples" / "impression.jsonl").open("a") as handle:
        handle.write("{}\n")
    with pytest.raises(DataError, match=r"impression\.jsonl:25: not a sample of this version"):
        write_report(run)


def test_a_megabyte_answer_does_not_break_the_page(edited) -> None:
    run = edited("run.json", lambda content: None)
    path = run / "samples" / "report_generation.jsonl"
    first, *rest = path.read_text().splitlines()
    record = json.loads(first)
    record.update(prediction="edema. " * 200_000)
    path.write_text("\n".join([json.dumps(record), *rest]) + "\n")
    page = write_report(run).read_text()
    assert "more characters in the run folder" in page
    assert len(page) < 3_000_000


def test_of_many_samples_half_are_the_worst_and_the_page_says_so(edited, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SAMPLES", 6)
    page = write_report(edited("run.json", lambda content: None)).read_text()
    assert "6 of 24 samples: half of them failed or score worst, half lie evenly spread over the rest" in page
    assert page.count('id="impression-6"') == 1
    assert 'id="impression-7"' not in page


def test_speed_settings_and_versions_are_shown(edited) -> None:
    def describe(content: dict) -> None:
        content["speed"] = {
            "report_generation": {
                "asked": 24,
                "seconds": 28.8,
                "seconds_per_request": 1.2,
                "usage": {"new_tokens": 1200.0},
                "new_tokens_per_second": 41.666,
            }
        }
        content["config"]["model_args"] = {"weights": "/home/someone/secret/w.pt"}
        content["config"]["sample_ids"] = ["p10000032/s50414267"]

    page = write_report(edited("run.json", describe)).read_text()
    assert "A report takes 1.200 s." in page
    assert "41.7" in page
    assert "weights=w.pt" in page
    assert "/home/someone" not in page
    assert "1 chosen" in page
    assert "s50414267" not in page


def test_an_unfinished_or_foreign_folder_is_named(tmp_path: Path, edited) -> None:
    with pytest.raises(DataError, match="no run folder"):
        write_report(tmp_path)
    run = edited("results.json", lambda content: content.update(schema_version="x"))
    with pytest.raises(DataError, match=r"results\.json: not a run of"):
        write_report(run)


def test_a_page_that_cannot_be_written_is_a_usage_error(edited) -> None:
    run = edited("run.json", lambda content: None)
    (run / "report.html").unlink()
    (run / "report.html").mkdir()
    with pytest.raises(UsageError, match=r"report\.html: cannot write"):
        write_report(run)

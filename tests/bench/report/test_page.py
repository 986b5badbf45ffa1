from __future__ import annotations

import re
from pathlib import Path

import pytest

from radialog_bench.report import write_report
from radialog_instruct.errors import DataError


def test_the_page_is_self_contained_and_escapes_everything(finished: Path) -> None:
    page = (finished / "report.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;window.hacked" in page
    assert "A notice &amp; a &lt;b&gt;tag" in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert page.count("data:image/jpeg;base64,") == 48
    assert str(finished.parent) not in page


def test_failures_empty_answers_and_counts_are_shown(finished: Path) -> None:
    page = (finished / "report.html").read_text()
    assert "adapter: secret &lt;i&gt;why" in page
    assert "(empty)" in page
    assert "1 \N{MULTIPLICATION SIGN} failed: adapter" in page
    assert "Confusion matrix" in page
    assert "Findings by class" in page


def test_credentialed_texts_stay_out_unless_asked_for(edited) -> None:
    run = edited("results.json", lambda content: content["data"].update(terms="credentialed"))
    private = write_report(run).read_text()
    assert "Not shown: the source is credentialed" in private
    assert "AP. Cardiomegaly." not in private
    assert "secret" not in private
    assert "AP. Cardiomegaly." in write_report(run, include_text=True).read_text()


def test_a_missing_image_has_a_placeholder(edited, finished: Path) -> None:
    run = edited("run.json", lambda content: None)
    path = run / "samples" / "view_classification.jsonl"
    path.write_text(re.sub(r'"images":\["[^"]*"\]', '"images":["/nowhere.jpg"]', path.read_text()))
    assert write_report(run).read_text().count("The image cannot be read") == 24


def test_an_unfinished_or_foreign_folder_is_named(tmp_path: Path, edited) -> None:
    with pytest.raises(DataError, match=r"run\.json: no finished run here"):
        write_report(tmp_path)
    run = edited("results.json", lambda content: content.update(schema_version="x"))
    with pytest.raises(DataError, match=r"results\.json: not a run of this version"):
        write_report(run)

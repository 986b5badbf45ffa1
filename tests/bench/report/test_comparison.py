from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from radialog_bench.cli import app
from radialog_bench.comparison import Comparison, MetricComparison
from radialog_bench.report.comparison import verdict, write_comparison
from radialog_instruct.errors import DataError
from radialog_instruct.terminal import run_app


@pytest.fixture
def compared(pages: dict[str, Path]) -> Comparison:
    return Comparison.model_validate_json((pages["comparison"].parent / "comparison.json").read_text())


def test_the_page_shows_differences_tests_and_samples_side_by_side(pages: dict[str, Path]) -> None:
    text = pages["comparison"].read_text()
    assert "<h1>hostile against constant</h1>" in text
    assert text.count('<svg class="forest"') > 60
    assert "p bootstrap<br>(Holm)" in text
    assert "p randomisation<br>(Holm)" in text
    assert "Samples that differ most, by ce_samples_f1" in text
    assert "&lt;script&gt;window.hacked" in text
    assert not re.findall(r'(?:src|href)="(?!data:|#)', text)
    assert "style=" not in text


def test_a_failed_sample_shows_its_reason_and_a_test_without_results_no_column(
    compared: Comparison, edited, tmp_path: Path
) -> None:
    run = edited("run.json", lambda content: None)
    for path in (run / "samples").iterdir():
        records = [json.loads(line) for line in path.read_text().splitlines()]
        lines = [json.dumps(record | {"prediction": None, "error": "adapter: <i>why</i>"}) for record in records]
        path.write_text("".join(line + "\n" for line in lines))
    content = compared.model_dump(mode="json")
    for part in content["evaluations"].values():
        for metric in part["metrics"].values():
            metric["p"].pop("mcnemar", None)
    text = write_comparison(Comparison.model_validate(content), tmp_path / "c.html", run, run).read_text()
    assert "failed: adapter: &lt;i&gt;why" in text
    assert "p bootstrap<br>(Holm)" in text
    assert "p mcnemar<br>(Holm)" not in text


@pytest.mark.parametrize(
    ("difference", "p_holm", "higher", "expected"),
    [
        (0.1, {"bootstrap": 0.01, "randomisation": 0.04}, True, "better"),
        (0.1, {"bootstrap": 0.01, "randomisation": 0.04}, False, "worse"),
        (-0.1, {"bootstrap": 0.01}, True, "worse"),
        (0.1, {"bootstrap": 0.01, "randomisation": 0.06}, True, "open"),
        (0.1, {}, True, "open"),
        (None, {"bootstrap": 0.01}, True, "open"),
    ],
)
def test_a_verdict_needs_every_test(difference, p_holm, higher: bool, expected: str) -> None:
    metric = MetricComparison(
        metric="m",
        signature="m|v1",
        higher_is_better=higher,
        a=0.1,
        b=0.2,
        difference=difference,
        p_holm=p_holm,
        n=2,
        n_clusters=2,
    )
    assert verdict(metric) == expected


def test_credentialed_texts_labels_and_images_stay_out(
    compared: Comparison, finished: Path, pages: dict[str, Path], tmp_path: Path
) -> None:
    content = compared.model_dump(mode="json")
    content["a"]["terms"] = "credentialed"
    private = Comparison.model_validate_json(json.dumps(content))
    constant = pages["comparison"].parent / "constant"
    text = write_comparison(private, tmp_path / "c.html", constant, finished).read_text()
    assert "the source is credentialed" in text
    for secret in ("AP. Cardiomegaly.", "data:image", "secret", 'class="chip'):
        assert secret not in text
    shown = write_comparison(private, tmp_path / "c.html", constant, finished, include_text=True).read_text()
    assert "AP. Cardiomegaly." in shown


def test_nothing_to_compare_undefined_and_forced_are_said(
    compared: Comparison, finished: Path, pages: dict[str, Path], tmp_path: Path
) -> None:
    content = compared.model_dump(mode="json")
    for metric in content["evaluations"]["impression"]["metrics"].values():
        metric.update(difference=None, a=None, p={}, p_holm={}, per_sample=None, ci95=None, unavailable="no <labeler>")
    content["evaluations"]["report_generation"]["metrics"]["bleu1"].update(ci95=[-1.0, 1.0], p={"bootstrap": 1e-9})
    content.update(forced=True, differences=["the <data>"])
    text = write_comparison(
        Comparison.model_validate(content), tmp_path / "c.html", pages["comparison"].parent / "constant", finished
    ).read_text()
    assert "nothing to compare" in text
    assert "no &lt;labeler&gt;" in text
    assert "Forced: the runs differ in the &lt;data&gt;" in text
    assert "1.0e-09" in text


def test_samples_that_are_gone_are_said(compared: Comparison, edited, pages: dict[str, Path], tmp_path: Path) -> None:
    run = edited("run.json", lambda content: None)
    for path in (run / "samples").iterdir():
        path.unlink()
    text = write_comparison(compared, tmp_path / "c.html", run, run).read_text()
    assert "The sample is in neither run" in text
    with pytest.raises(DataError, match="no run folder"):
        write_comparison(compared, tmp_path / "c.html", tmp_path, run)


def test_the_command_writes_the_page(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.html"
    command = (
        "compare",
        str(finished),
        str(finished),
        "--html",
        str(page),
        "--resamples",
        "20",
        "--metrics",
        "accuracy",
    )
    assert run_app(app, "radialog-bench", command) == 0
    assert f"wrote {page}" in capsys.readouterr().err
    assert "hostile against hostile" in page.read_text()

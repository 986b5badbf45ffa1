from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from radialog_bench.reference import load_reference
from radialog_bench.reference.tables import RADIALOG
from radialog_instruct.errors import DataError


def test_the_papers_eight_tables_and_what_stands_in_its_text_are_here() -> None:
    ids = [table.id for table in load_reference().tables]
    assert ids[:8] == [f"table-{number}" for number in range(1, 9)]
    assert ids[8:] == ["rad-restruct", "reader-study", "speed"]
    sizes = {table.id: (len(table.rows), len(table.columns)) for table in load_reference().tables}
    assert sizes["table-1"] == (10, 10)
    assert sizes["table-5"] == (15, 5)
    assert sizes["table-6"] == (8, 6)


@pytest.mark.parametrize(
    ("table", "better", "worse", "column", "claimed"),
    [
        ("table-2", "RaDialog-align-report", "RaDialog-align-report, without S", "ce", 13.3),
        ("table-1", "RaDialog-project-report", "R2GenGPT", "mimic_ce", 15.0),
        ("table-4", "RaDialog-project-instruct", "XrayGPT", "delta", 23.4),
    ],
)
def test_the_abstracts_claims_follow(table: str, better: str, worse: str, column: str, claimed: float) -> None:
    printed = load_reference().table(table)
    assert printed.cell(better, column) - printed.cell(worse, column) == pytest.approx(claimed, abs=1e-9)


def test_the_reader_preferred_radialog() -> None:
    assert load_reference().table("reader-study").rows[0].cells == (84, 71, 84)


def test_every_correction_gain_is_corrected_minus_initial() -> None:
    for row in load_reference().table("table-4").rows:
        initial, corrected, delta = row.cells[-3:]
        assert corrected - initial == pytest.approx(delta, abs=1e-9), row.method


def test_a_number_printed_in_two_tables_is_the_same_but_for_the_one_that_is_noted() -> None:
    reference = load_reference()
    columns = {"mimic_ce": "ce", "mimic_bs": "bs", "mimic_b4": "b4", "mimic_rl": "rl"}
    different = [
        (row.method, here)
        for row in reference.table("table-1").rows
        if row.method.startswith("RaDialog")
        for here, there in columns.items()
        if reference.table("table-1").cell(row.method, here) != reference.table("table-5").cell(row.method, there)
    ]
    assert different == [("RaDialog-align-report", "mimic_rl")]
    assert "two-values" in next(
        row.notes for row in reference.table("table-5").rows if row.method == "RaDialog-align-report"
    )
    for table in ("table-2", "table-7", "table-8"):
        method = "Vicuna-7b" if table == "table-8" else "RaDialog-align-report"
        assert reference.table(table).cell(method, "rl") == 27.1
        assert reference.table(table).cell(method, "ce") == 39.4


def test_initial_ce_of_correction_is_that_of_report_generation() -> None:
    reference = load_reference()
    for row in reference.table("table-4").rows:
        assert reference.table("table-4").cell(row.method, "initial") == reference.table("table-1").cell(
            row.method, "mimic_ce"
        )


def test_unknown_tables_rows_and_columns_are_key_errors() -> None:
    for lookup in (
        lambda: load_reference().table("table-9"),
        lambda: load_reference().table("table-1").cell("Nobody", "mimic_ce"),
        lambda: load_reference().table("table-1").cell("XrayGPT", "nothing"),
    ):
        with pytest.raises(KeyError):
            lookup()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda t: t["rows"][0]["cells"].pop(), "9 cells for 10 columns"),
        (lambda t: t["rows"][0]["cells"].__setitem__(1, "10.7"), "'10.7' is no score"),
        (lambda t: t["rows"][0]["cells"].__setitem__(1, True), "True is no score"),
        (lambda t: t["rows"][0].update(notes=["nowhere"]), "no note nowhere"),
        (lambda t: t["columns"][1].pop("sources"), "needs sources, evaluation and measure"),
        (lambda t: t["columns"][1].update(measure="wit"), "no measure wit"),
    ],
)
def test_damaged_tables_are_refused(tmp_path: Path, change, complaint: str) -> None:
    content = yaml.safe_load(RADIALOG.read_text())
    change(content["tables"][0])
    (tmp_path / "paper.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(DataError, match=complaint):
        load_reference(tmp_path / "paper.yaml")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.yaml: cannot read the tables"):
        load_reference(tmp_path / "none.yaml")

from __future__ import annotations

from pathlib import Path

import pytest

from radialog_instruct.errors import UsageError
from radialog_instruct.labeling import rules
from radialog_instruct.sources.sections import parse_report
from radialog_instruct.synth.mimic import Images, write_mimic_tree
from radialog_instruct.synth.mimic_text import LAYOUTS, Dice, invent_report


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_tree_depends_on_its_size_alone(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_mimic_tree(tmp_path / name, 60)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_images_are_optional_and_an_occupied_folder_is_left_alone(tmp_path: Path) -> None:
    write_mimic_tree(tmp_path / "t", 60, images=Images.NONE)
    assert not list((tmp_path / "t").rglob("*.jpg"))
    with pytest.raises(UsageError, match="holds other files"):
        write_mimic_tree(tmp_path / "t", 60)


def test_reports_have_the_real_files_layout() -> None:
    for layout in LAYOUTS:
        for key in range(20):
            report = invent_report(str(key), layout)
            assert all(len(line) <= 80 for line in report.text.splitlines())
            if layout == "both":
                assert report.text.startswith(f"{'':33}FINAL REPORT\n")
                assert parse_report(report.text).findings
            if report.explanation is not None:
                assert report.explanation[0] in (parse_report(report.text).findings or "")


def test_labels_mostly_agree_with_the_text() -> None:
    agree = total = 0
    for key in range(300):
        report = invent_report(str(key), "findings only")
        found = dict(zip(rules.FINDINGS, rules.label(parse_report(report.text).findings or ""), strict=True))
        for name, value in report.labels.items():
            if value == 1 and name != "No Finding":
                total += 1
                agree += found[name] == 1
    assert agree / total > 0.9


def test_dice_are_even_and_depend_on_their_key() -> None:
    rolls = [Dice("a").roll(10) for _ in range(3)]
    assert len(set(rolls)) == 1
    dice = Dice("b")
    counts = [0] * 4
    for _ in range(4000):
        counts[dice.roll(4)] += 1
    assert all(900 < n < 1100 for n in counts)

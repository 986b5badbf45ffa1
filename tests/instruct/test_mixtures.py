from __future__ import annotations

from pathlib import Path

import pytest

from radialog_instruct.errors import UsageError
from radialog_instruct.mixtures import Unit, load_mixture


def test_the_shipped_mixtures_say_what_they_are() -> None:
    paper, full = load_mixture("paper"), load_mixture("full")
    assert paper.expected_total == 580_000
    assert paper.tasks["report_generation"].no_finding_fraction == pytest.approx(1 / 14)
    assert paper.tasks["findings_qa_binary"].share == pytest.approx(1 / 12)
    assert set(paper.tasks) == set(full.tasks)
    assert all(mix.share is None for mix in full.tasks.values())


def test_settings_change_a_mixture() -> None:
    mixture = load_mixture("paper", ("report_generation.indication=true", "impression.share=1/2", "unit=study"))
    assert mixture.tasks["report_generation"].indication
    assert mixture.tasks["impression"].share == 0.5
    assert mixture.unit is Unit.STUDY


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("papr", (), "choose full, paper"),
        ("paper", ("impression.share",), "sets nothing"),
        ("paper", ("impresion.share=1",), "no task 'impresion'"),
        ("paper", ("impression.share=2",), "tasks.impression.share"),
        ("paper", ("impression.share=a/b",), "no number or fraction"),
        ("paper", ("impression.indication=true",), "belongs to report_generation"),
        ("paper", ("findings_qa_binary.yes_fraction=1",), "yes_fraction"),
    ],
)
def test_a_wrong_mixture_is_named(name: str, settings: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_mixture(name, settings)


def test_a_users_own_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\ntasks:\n  impression: {share: 1/3}\n")
    assert load_mixture(str(path)).tasks["impression"].share == pytest.approx(1 / 3)
    for text, message in (
        ("name: mine\ntasks: {poetry: }\n", "no task 'poetry'"),
        ("[1", "not a YAML file"),
        ("- 1", "not a mixture"),
    ):
        path.write_text(text)
        with pytest.raises(UsageError, match=message):
            load_mixture(str(path))

"""Where the files that ship with the distribution lie, in a checkout and in an installed wheel."""

from __future__ import annotations

from pathlib import Path

from radialog_instruct.errors import DataError

_PACKAGE_ASSETS = Path(__file__).parent / "_assets"
_CHECKOUT = Path(__file__).parents[1]


def _find(name: str) -> Path:
    packaged = _PACKAGE_ASSETS / name
    checkout = _CHECKOUT / name
    # In a checkout templates/ and DATASET_CARD.md lie at the root; the wheel carries them under _assets.
    found = checkout if (_CHECKOUT / "pyproject.toml").is_file() and checkout.exists() else packaged
    if not found.exists():
        raise DataError("a file of the distribution is missing", where=str(found), mend="reinstall radialog")
    return found


def templates_dir() -> Path:
    """Return the folder of the Jinja templates.

    Raises:
        DataError: If the installation lacks it.
    """
    return _find("templates")


def demo_dir() -> Path:
    """Return the folder of the embedded demonstration collection.

    Raises:
        DataError: If the installation lacks it.
    """
    return _find("demo")


def demo_replay_dir() -> Path:
    """Return the folder of the answers an LLM has written for the demonstration collection.

    Raises:
        DataError: If the installation lacks it.
    """
    return _find("demo/replay")


def demonstration_weights_dir() -> Path:
    """Return the folder of the demonstration checkpoint of ``radialog-project``.

    Raises:
        DataError: If the installation lacks it.
    """
    return _find("demonstration_weights")


def section_overrides_file() -> Path:
    """Return the table of reports whose sections are set by hand.

    Raises:
        DataError: If the installation lacks it.
    """
    return _find("section_overrides.csv")

"""What a rerun resumes from: the newest whole checkpoint, of a run that was the same."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from reprlib import Repr
from tempfile import NamedTemporaryFile
from typing import Any

from radialog_instruct.errors import UsageError
from radialog_instruct.files import unwritable

CLAIM = "run.json"
"""Says in a work folder which run's it is."""
STATE = "trainer_state.json"
"""What ``Trainer`` writes last into a checkpoint."""
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


def last_complete(folder: Path) -> str | None:
    """Return the newest checkpoint of a ``Trainer`` that was written to its end, or None.

    One that was cut short, by a kill or a full disk, lacks the state or holds half of it; it is passed over and stays
    where it is, for the run that resumes writes it again.

    Args:
        folder: The trainer's output folder; need not exist.
    """
    if not folder.is_dir():
        return None
    numbered = [(int(found[1]), path) for path in folder.iterdir() if (found := _CHECKPOINT.fullmatch(path.name))]
    whole = (path for _, path in sorted(numbered, reverse=True) if _is_json(path / STATE))
    return next(map(str, whole), None)


def claim(folder: Path, identity: dict[str, Any]) -> None:
    """Make a work folder that of a run, or check that it is that run's already.

    All processes of a run may call it at once.

    Args:
        folder: The work folder; created if needed.
        identity: What makes a run the same, JSON throughout: its configuration, the fingerprint of its dataset.

    Raises:
        UsageError: If the folder is another run's, with the first key that differs and both values; or if it cannot
            be written.
    """
    wanted: dict[str, Any] = json.loads(json.dumps(identity))
    path = folder / CLAIM
    mend = f"give the same options and data again, choose another --output, or remove {folder}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.is_file():
            _write(path, wanted)
        stored = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"not JSON ({error})", where=str(path), mend=f"remove {folder}") from error
    except OSError as error:
        raise unwritable(folder, error) from error
    for key, old, new in _differences(stored, wanted):
        what = f"an interrupted run with another {key} lies here: {_shown(old)} then, {_shown(new)} now"
        raise UsageError(what, where=str(folder), mend=mend)


def _write(path: Path, value: dict[str, Any]) -> None:
    # a name of its own: the processes of a run may write at once, all the same
    with NamedTemporaryFile("w", dir=path.parent, prefix=".", suffix=".tmp", delete=False, encoding="utf-8") as file:
        file.write(json.dumps(value, indent=2, sort_keys=True) + "\n")
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).replace(path)


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def _differences(old: Any, new: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(old.keys() | new.keys()):
            yield from _differences(old.get(name), new.get(name), f"{key}.{name}".lstrip("."))
    elif old != new:
        yield key or "identity", old, new


def _shown(value: Any) -> str:
    short = Repr()
    short.maxstring = short.maxother = 80
    return "nothing" if value is None else short.repr(value)

"""A replay folder: which requests belong to it (``replay.json``) and what was answered (``answers*.sqlite``)."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from types import TracebackType

from pydantic import BaseModel, ConfigDict, ValidationError

from radialog_instruct.errors import DataError, UsageError
from radialog_instruct.files import write_json
from radialog_instruct.replay.cache import Answer, AnswerCache
from radialog_instruct.replay.request import ReplayPolicy
from radialog_instruct.replay.transfer import read_export

REPLAY, SUMMARY, REJECTED = "replay.json", "summary.json", "rejected"
FORMAT_VERSION = 1


class ReplayFile(BaseModel):
    """``replay.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: int = FORMAT_VERSION
    policy: ReplayPolicy


class Answers:
    """All answers of a replay folder, for reading: one file, or one of each worker.

    Args:
        folder: The folder.

    Raises:
        DataError: If there is no replay folder, or a file of it is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.policy = read_policy(folder)
        self._caches = [open_answers(path) for path in answer_files(folder)]

    def __enter__(self) -> Answers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        """Return the number of answers; those that stand in two files count twice."""
        return sum(map(len, self._caches))

    def get(self, key: bytes) -> Answer | None:
        """Return the answer to a request, from the first file that has it."""
        for cache in self._caches:
            answer = cache.get(key)
            if answer is not None:
                return answer
        return None

    def digest(self) -> str:
        """Return a hash over all keys and texts: equal digests mean equal answers."""
        hasher = sha256()
        for key, text in self._ordered():
            hasher.update(key)
            hasher.update(sha256(text.encode()).digest())
        return hasher.hexdigest()

    def close(self) -> None:
        """Close all files."""
        for cache in self._caches:
            cache.close()

    def _ordered(self) -> Iterator[tuple[bytes, str]]:
        """Yield key and text once a key, the first file's where two have it."""
        streams = [
            ((key, position, answer.text) for key, answer in cache.items())
            for position, cache in enumerate(self._caches)
        ]
        last: bytes | None = None
        for key, _, text in heapq.merge(*streams):
            if key != last:
                yield key, text
            last = key


def answer_files(folder: Path) -> list[Path]:
    """Return the answer files of a folder, in the order they are asked."""
    return [*sorted(folder.glob("answers*.sqlite")), *sorted(folder.glob("answers*.jsonl"))]


def open_answers(path: Path) -> AnswerCache:
    """Open a cache for reading, or an export of one.

    Raises:
        DataError: If it is damaged.
    """
    if path.suffix != ".jsonl":
        return AnswerCache(path, writable=False)
    cache = AnswerCache(None, writable=True)
    for key, answer in read_export(path):
        cache.add(key, answer)
    cache.commit()
    return cache


def worker_file(folder: Path, worker: tuple[int, int] | None) -> Path:
    """Return the file a worker writes; without workers there is one."""
    if worker is None:
        return folder / "answers.sqlite"
    number, workers = worker
    return folder / f"answers-{number:05d}-of-{workers:05d}.sqlite"


def claim(folder: Path, policy: ReplayPolicy) -> None:
    """Make a replay folder, or make sure an existing one belongs to the same requests.

    Raises:
        UsageError: If it belongs to other requests, or holds something else.
    """
    if (folder / REPLAY).is_file():
        known = read_policy(folder)
        if known != policy:
            changed = sorted(
                name for name in ReplayPolicy.model_fields if getattr(known, name) != getattr(policy, name)
            )
            raise UsageError(
                f"the folder was made with other settings ({', '.join(changed)})",
                where=str(folder),
                mend="choose another --out; cache merge takes answers along",
            )
        return
    if folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir()):
        raise UsageError("the folder holds other files", where=str(folder), mend="choose an empty or new folder")
    write_json(folder / REPLAY, ReplayFile(policy=policy).model_dump(mode="json"))


def read_policy(folder: Path) -> ReplayPolicy:
    """Read which requests a folder holds.

    Raises:
        DataError: If it is no replay folder, or of another version.
    """
    path = folder / REPLAY
    try:
        return ReplayFile.model_validate_json(path.read_text(encoding="utf-8")).policy
    except FileNotFoundError as error:
        mend = "run radialog-instruct replay first"
        raise DataError("no replay.json here", where=str(folder), mend=mend) from error
    except (OSError, ValidationError, json.JSONDecodeError) as error:
        raise DataError(f"not a replay.json of this version: {error}", where=str(path), mend="replay again") from error

"""The answer cache: one sqlite file in WAL mode, the truth about what an LLM has answered.

Answers are committed every few hundred or every two seconds with an fsync, and never changed afterwards. A second
answer to the same request is ignored: the first one may already stand in a dataset.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from radialog_instruct.errors import DataError, RadialogError, UsageError
from radialog_instruct.replay.request import ModelIdentity, Sampling

COMMIT_ROWS, COMMIT_SECONDS = 256, 2.0
"""An answer is on disk after this many more answers, or this long, at the latest."""
APPLICATION_ID = 0x52444C47
"""Marks the file as ours ("RDLG"), so that another program's database is refused."""
_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE engines (
    id INTEGER PRIMARY KEY, model TEXT NOT NULL, revision TEXT NOT NULL, chat_template TEXT,
    engine TEXT NOT NULL, engine_version TEXT NOT NULL, versions TEXT NOT NULL
);
CREATE TABLE samplings (id INTEGER PRIMARY KEY, sampling TEXT NOT NULL UNIQUE);
CREATE TABLE answers (
    key BLOB NOT NULL UNIQUE, text TEXT NOT NULL, finish_reason TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,
    engine INTEGER NOT NULL REFERENCES engines, sampling INTEGER NOT NULL REFERENCES samplings, created INTEGER NOT NULL
);
"""
_SELECT = (
    "SELECT text, finish_reason, prompt_tokens, completion_tokens, engine, sampling, created FROM answers WHERE key = ?"
)


@dataclass(frozen=True, slots=True)
class Engine:
    """What produced an answer.

    Attributes:
        identity: The LLM.
        name: The engine, for example ``"vllm"``.
        version: Its version.
        versions: Versions of what it ran on.
    """

    identity: ModelIdentity
    name: str
    version: str
    versions: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for a request.

    Attributes:
        text: The answer.
        finish_reason: ``"stop"``, or ``"length"`` where it was cut off.
        prompt_tokens: Tokens of the prompt.
        completion_tokens: Tokens of the answer.
        engine: What produced it.
        sampling: How it was drawn.
        created: Seconds since 1970, UTC.
    """

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    engine: Engine
    sampling: Sampling
    created: int


class AnswerCache:
    """Answers by the key of their request.

    Args:
        path: The file, or None for a cache in memory.
        writable: Whether answers are added; one process at a time may.

    Raises:
        DataError: If the file is damaged, of another kind, or another process writes it.
        UsageError: If it cannot be opened or written.
    """

    def __init__(self, path: Path | None, *, writable: bool) -> None:
        self.path = path
        self.where = str(path) if path is not None else "the cache in memory"
        self._lock: int | None = None
        self._pending, self._committed_at = 0, time.monotonic()
        self._engines: dict[int, Engine] = {}
        self._engine_ids: dict[Engine, int] = {}
        self._samplings: dict[int, Sampling] = {}
        self._sampling_ids: dict[Sampling, int] = {}
        if path is not None and writable:
            self._lock = _locked(path)
        try:
            with self._translated():
                self._db = _connect(path, writable=writable)
                self._prepare(writable=writable)
        except BaseException:
            self._unlock()
            raise

    def __enter__(self) -> AnswerCache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        """Return the number of answers."""
        with self._translated():
            n: int = self._db.execute("SELECT count(*) FROM answers").fetchone()[0]
        return n

    def get(self, key: bytes) -> Answer | None:
        """Return the answer to a request, or None.

        Raises:
            DataError: If the file is damaged.
        """
        with self._translated():
            row = self._db.execute(_SELECT, (key,)).fetchone()
        return self._answer(row) if row is not None else None

    def add(self, key: bytes, answer: Answer) -> bool:
        """Add an answer; it is durable after the next commit.

        Returns:
            Whether it was new; an answer to an answered request changes nothing.

        Raises:
            UsageError: If the disk is full.
            DataError: If the file is damaged.
        """
        with self._translated():
            values = (
                *(key, answer.text, answer.finish_reason, answer.prompt_tokens, answer.completion_tokens),
                *(self._engine_id(answer.engine), self._sampling_id(answer.sampling), answer.created),
            )
            cursor = self._db.execute("INSERT OR IGNORE INTO answers VALUES (?,?,?,?,?,?,?,?)", values)
        self._pending += cursor.rowcount
        if self._pending >= COMMIT_ROWS or (self._pending and time.monotonic() - self._committed_at >= COMMIT_SECONDS):
            self.commit()
        return cursor.rowcount == 1

    def commit(self) -> None:
        """Force everything added so far to the disk.

        Raises:
            UsageError: If the disk is full; it says how many answers were not saved.
        """
        try:
            with self._translated():
                self._db.commit()
        except RadialogError as error:
            what = f"{error.what}; {self._pending:,} answers were not saved"
            raise type(error)(what, where=error.where, mend=error.mend) from error
        self._pending, self._committed_at = 0, time.monotonic()

    def close(self) -> None:
        """Commit and close the file; a second call does nothing."""
        try:
            if self._pending:
                self.commit()
        finally:
            self._db.close()
            self._unlock()

    def items(self) -> Iterator[tuple[bytes, Answer]]:
        """Yield all answers, ordered by key."""
        with self._translated():
            rows = self._db.execute(_SELECT.replace("SELECT", "SELECT key,").replace("WHERE key = ?", "ORDER BY key"))
            for key, *row in rows:
                yield bytes(key), self._answer(tuple(row))

    def identities(self) -> tuple[ModelIdentity, ...]:
        """Return the models that answered."""
        with self._translated():
            rows = self._db.execute("SELECT DISTINCT model, revision, chat_template FROM engines ORDER BY 1, 2, 3")
            return tuple(ModelIdentity(model=m, revision=r, chat_template=t) for m, r, t in rows)

    def _answer(self, row: tuple[object, ...]) -> Answer:
        text, finish, prompt, completion, engine, sampling, created = row
        return Answer(
            *(str(text), str(finish), int(prompt), int(completion)),  # type: ignore[call-overload]
            engine=self._engine(int(engine)),  # type: ignore[call-overload]
            sampling=self._sampling(int(sampling)),  # type: ignore[call-overload]
            created=int(created),  # type: ignore[call-overload]
        )

    def _engine(self, number: int) -> Engine:
        if number not in self._engines:
            row = self._db.execute(
                "SELECT model, revision, chat_template, engine, engine_version, versions FROM engines WHERE id = ?",
                (number,),
            ).fetchone()
            identity = ModelIdentity(model=row[0], revision=row[1], chat_template=row[2])
            self._engines[number] = Engine(identity, row[3], row[4], tuple(sorted(json.loads(row[5]).items())))
        return self._engines[number]

    def _sampling(self, number: int) -> Sampling:
        if number not in self._samplings:
            row = self._db.execute("SELECT sampling FROM samplings WHERE id = ?", (number,)).fetchone()
            self._samplings[number] = Sampling.model_validate_json(row[0])
        return self._samplings[number]

    def _engine_id(self, engine: Engine) -> int:
        if engine not in self._engine_ids:
            identity, versions = engine.identity, json.dumps(dict(engine.versions), sort_keys=True)
            row = identity.model, identity.revision, identity.chat_template, engine.name, engine.version, versions
            known = self._db.execute(
                "SELECT id FROM engines WHERE model = ? AND revision = ? AND chat_template IS ? AND engine = ? "
                "AND engine_version = ? AND versions = ?",
                row,
            ).fetchone()
            if known is None:
                known = (self._db.execute("INSERT INTO engines VALUES (NULL,?,?,?,?,?,?)", row).lastrowid,)
            self._engine_ids[engine] = known[0]
        return self._engine_ids[engine]

    def _sampling_id(self, sampling: Sampling) -> int:
        if sampling not in self._sampling_ids:
            text = sampling.model_dump_json()
            self._db.execute("INSERT OR IGNORE INTO samplings VALUES (NULL,?)", (text,))
            known = self._db.execute("SELECT id FROM samplings WHERE sampling = ?", (text,)).fetchone()
            self._sampling_ids[sampling] = known[0]
        return self._sampling_ids[sampling]

    def _prepare(self, *, writable: bool) -> None:
        """Create the tables of a new file, and refuse one that is not ours."""
        if self.path is None or (writable and not self._db.execute("SELECT 1 FROM sqlite_master").fetchone()):
            self._db.executescript(
                f"BEGIN IMMEDIATE; PRAGMA application_id = {APPLICATION_ID}; "
                f"PRAGMA user_version = {_SCHEMA_VERSION}; {_SCHEMA} COMMIT;"
            )
            return
        kind = self._db.execute("PRAGMA application_id").fetchone()[0]
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if kind != APPLICATION_ID or version != _SCHEMA_VERSION:
            raise DataError("not an answer cache of this version", where=self.where, mend="choose another file")
        if writable:
            found = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise _damaged(self.where, found)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn sqlite's errors into ours."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            code = getattr(error, "sqlite_errorcode", None) or 0
            if code & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY):
                mend = "free the disk and run the same command again: what was committed is kept"
                raise UsageError(f"cannot write: {error}", where=self.where, mend=mend) from error
            if code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise _busy(self.where) from error
            if code & 0xFF == sqlite3.SQLITE_CANTOPEN:
                raise UsageError(
                    f"cannot open: {error}", where=self.where, mend="check path and permissions"
                ) from error
            raise _damaged(self.where, str(error)) from error

    def _unlock(self) -> None:
        if self._lock is not None:
            lock, self._lock = self._lock, None
            os.close(lock)


def _connect(path: Path | None, *, writable: bool) -> sqlite3.Connection:
    if path is None:
        return sqlite3.connect(":memory:")
    if not writable:
        if not path.is_file():
            raise DataError("no such cache", where=str(path), mend="run radialog-instruct replay first")
        uri = f"{path.absolute().as_uri()}?mode=ro"
        connection = sqlite3.connect(uri, uri=True, timeout=30)
        try:
            connection.execute("SELECT 1 FROM sqlite_master").fetchone()
        except sqlite3.OperationalError as error:
            # A write-ahead log cannot be opened in a folder that may not be written; nobody else writes there either.
            if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
                raise
            connection.close()
            connection = sqlite3.connect(f"{uri}&immutable=1", uri=True)
        return connection
    connection = sqlite3.connect(path, timeout=30)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # every commit is an fsync of the log
    connection.execute("PRAGMA journal_size_limit = 67108864")
    return connection


def _locked(path: Path) -> int:
    lock = path.with_name(f".{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        mend = "choose another folder or free it"
        raise UsageError(f"cannot write: {error.strerror}", where=str(path), mend=mend) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        with suppress(OSError):
            os.close(descriptor)
        raise _busy(str(path)) from error
    return descriptor


def _busy(where: str) -> DataError:
    return DataError("another process writes this cache", where=where, mend="wait for it, or give every worker its own")


def _damaged(where: str, what: str) -> DataError:
    mend = "move it away and import an export of it, or what sqlite3's .recover saves; lost answers are asked again"
    return DataError(f"the cache is damaged ({what})", where=where, mend=mend)

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from radialog_instruct.errors import DataError, UsageError
from radialog_instruct.replay.cache import COMMIT_ROWS, Answer, AnswerCache, Engine
from radialog_instruct.replay.request import ModelIdentity, Sampling
from radialog_instruct.replay.transfer import export_answers, merge_files, read_export

ENGINE = Engine(ModelIdentity(model="m", revision="r"), "echo", "1", (("torch", "2"),))
SAMPLING = Sampling(temperature=0.0, top_p=0.95, max_tokens=64)


def key(n: int) -> bytes:
    return sha256(str(n).encode()).digest()


def answer(text: str, **changes: object) -> Answer:
    values = {
        "finish_reason": "stop",
        "prompt_tokens": 7,
        "completion_tokens": 3,
        "engine": ENGINE,
        "sampling": SAMPLING,
    }
    return Answer(text, created=1_700_000_000, **{**values, **changes})  # type: ignore[arg-type]


def test_an_answer_comes_back_with_all_its_provenance(tmp_path: Path) -> None:
    given = answer("Grüße 😀\n'quoted'", finish_reason="length")
    with AnswerCache(tmp_path / "a.sqlite", writable=True) as cache:
        assert cache.add(key(1), given)
    with AnswerCache(tmp_path / "a.sqlite", writable=False) as cache:
        assert cache.get(key(1)) == given
        assert cache.get(key(2)) is None
        assert cache.identities() == (ENGINE.identity,)
        assert len(cache) == 1


def test_the_first_answer_stays(tmp_path: Path) -> None:
    with AnswerCache(tmp_path / "a.sqlite", writable=True) as cache:
        assert cache.add(key(1), answer("first"))
        assert not cache.add(key(1), answer("second"))
        kept = cache.get(key(1))
    assert kept is not None
    assert kept.text == "first"


def test_a_kill_loses_nothing_that_was_committed(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path\n"
        "from tests.instruct.replay.test_cache import AnswerCache, answer, key, COMMIT_ROWS\n"
        "cache = AnswerCache(Path(sys.argv[1]), writable=True)\n"
        "for n in range(2 * COMMIT_ROWS + 10): cache.add(key(n), answer(f'text {n}'))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.sqlite"), str(root)], check=False)
    assert done.returncode == -signal.SIGKILL
    with AnswerCache(tmp_path / "a.sqlite", writable=True) as cache:  # the dead process's lock is gone too
        assert len(cache) == 2 * COMMIT_ROWS
        assert cache.get(key(COMMIT_ROWS)) == answer(f"text {COMMIT_ROWS}")


def test_one_writer_at_a_time_and_readers_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with AnswerCache(path, writable=True) as writer:
        with pytest.raises(DataError, match="another process writes"):
            AnswerCache(path, writable=True)
        writer.add(key(1), answer("seen"))
        writer.commit()
        with AnswerCache(path, writable=False) as reader:
            assert len(reader) == 1
    AnswerCache(path, writable=True).close()


@pytest.mark.parametrize("content", [b"", b"not a database at all, whatever its name says", None])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.sqlite"
    if content is None:
        sqlite3.connect(path).execute("CREATE TABLE other (x)")
    else:
        path.write_bytes(content)
    with pytest.raises(DataError, match="not an answer cache|damaged"):
        AnswerCache(path, writable=False)


def test_a_damaged_cache_is_named_and_not_written(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with AnswerCache(path, writable=True) as cache:
        for n in range(2000):
            cache.add(key(n), answer(f"text {n} " * 20))
    data = bytearray(path.read_bytes())
    for page in range(4, len(data) // 4096, 3):
        data[page * 4096 : page * 4096 + 2000] = os.urandom(2000)
    path.write_bytes(bytes(data))
    before = path.read_bytes()
    with pytest.raises(DataError, match="damaged"):
        AnswerCache(path, writable=True)
    assert path.read_bytes() == before


def test_a_full_disk_is_said_with_the_number_of_answers_lost(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path / "a.sqlite", writable=True)
    cache.add(key(0), answer("kept"))
    cache.commit()
    cache._db.execute("PRAGMA max_page_count = 12")  # what sqlite says of a full disk
    with pytest.raises(UsageError, match="full"):
        for n in range(1, 2000):
            cache.add(key(n), answer("x" * 500))
    cache._db.close()
    cache._unlock()
    with AnswerCache(tmp_path / "a.sqlite", writable=False) as again:
        assert again.get(key(0)) == answer("kept")


def test_an_unwritable_folder_is_said(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(UsageError, match="cannot write"):
        AnswerCache(blocked / "a.sqlite", writable=True)
    with pytest.raises(DataError, match="no such cache"):
        AnswerCache(tmp_path / "none.sqlite", writable=False)


def test_export_and_merge_keep_every_answer_once(tmp_path: Path) -> None:
    for name, numbers in (("a", range(20)), ("b", range(10, 30))):
        with AnswerCache(tmp_path / f"{name}.sqlite", writable=True) as cache:
            for n in numbers:
                cache.add(key(n), answer(f"{'same' if n != 15 else name} {n}"))
    merged = merge_files(tmp_path / "all.sqlite", [tmp_path / "a.sqlite", tmp_path / "b.sqlite"])
    assert (merged.added, merged.known, merged.other_text) == (30, 10, 1)
    with AnswerCache(tmp_path / "all.sqlite", writable=False) as cache:
        everything = dict(cache.items())
        assert list(everything) == sorted(map(key, range(30)))
        assert everything[key(15)].text == "a 15"
        assert export_answers(cache, tmp_path / "all.jsonl") == 30
    assert dict(read_export(tmp_path / "all.jsonl")) == everything
    again = merge_files(tmp_path / "copy.sqlite", [tmp_path / "all.jsonl"])
    assert (again.added, again.known) == (30, 0)


def test_a_damaged_export_names_its_line(tmp_path: Path) -> None:
    with AnswerCache(tmp_path / "a.sqlite", writable=True) as cache:
        cache.add(key(1), answer("one"))
        cache.add(key(2), answer("two"))
        export_answers(cache, tmp_path / "a.jsonl")
    lines = (tmp_path / "a.jsonl").read_text().splitlines()
    (tmp_path / "a.jsonl").write_text(lines[0] + "\n" + lines[1][:40] + "\n")
    with pytest.raises(DataError, match=r"a\.jsonl:2"):
        list(read_export(tmp_path / "a.jsonl"))

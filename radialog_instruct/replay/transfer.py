"""Exports a cache as JSON lines, imports such a file, and merges caches: how answers travel between machines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from radialog_instruct.errors import DataError
from radialog_instruct.files import replacing
from radialog_instruct.replay.cache import Answer, AnswerCache, Engine
from radialog_instruct.replay.request import KEY_BYTES, ModelIdentity, Sampling


@dataclass
class Merged:
    """What a merge did.

    Attributes:
        added: Answers that were new.
        known: Answers that were there already.
        other_text: Of these, answers with another text; the first one stays.
    """

    added: int = 0
    known: int = 0
    other_text: int = 0


def export_answers(cache: AnswerCache, path: Path) -> int:
    """Write all answers as JSON lines, ordered by key, atomically; return their number.

    Raises:
        UsageError: If the file cannot be written.
        DataError: If the cache is damaged.
    """
    n = 0
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as handle:
        for key, answer in cache.items():
            handle.write(json.dumps(_record(key, answer), ensure_ascii=False, sort_keys=True) + "\n")
            n += 1
    return n


def read_export(path: Path) -> Iterator[tuple[bytes, Answer]]:
    """Yield the answers of an export.

    Raises:
        DataError: If a line is no answer; it names the line.
    """
    try:
        with path.open(encoding="utf-8") as handle:
            for number, line in enumerate(handle, start=1):
                try:
                    yield _parsed(json.loads(line))
                except (ValueError, KeyError, TypeError, ValidationError) as error:
                    mend = "export the cache again, or remove the line"
                    raise DataError(f"not an answer ({error!r})", where=f"{path}:{number}", mend=mend) from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read: {error}", where=str(path), mend="check the file") from error


def merge_answers(into: AnswerCache, answers: Iterable[tuple[bytes, Answer]]) -> Merged:
    """Add answers to a cache; what it already has stays as it is.

    Raises:
        UsageError: If the disk is full.
        DataError: If a cache is damaged.
    """
    merged = Merged()
    for key, answer in answers:
        if into.add(key, answer):
            merged.added += 1
            continue
        merged.known += 1
        there = into.get(key)
        if there is not None and there.text != answer.text:
            merged.other_text += 1
    into.commit()
    return merged


def merge_files(out: Path, sources: Sequence[Path]) -> Merged:
    """Merge caches and exports into one cache.

    Args:
        out: The cache that takes all answers; it is made where it is missing.
        sources: Caches (``.sqlite``) and exports (``.jsonl``).

    Raises:
        RadialogError: If a file is missing, damaged or cannot be written.
    """
    total = Merged()
    with AnswerCache(out, writable=True) as into:
        for source in sources:
            if source.suffix == ".jsonl":
                part = merge_answers(into, read_export(source))
            else:
                with AnswerCache(source, writable=False) as cache:
                    part = merge_answers(into, cache.items())
            total = Merged(total.added + part.added, total.known + part.known, total.other_text + part.other_text)
    return total


def _record(key: bytes, answer: Answer) -> dict[str, Any]:
    engine = answer.engine
    return {
        "key": key.hex(),
        "text": answer.text,
        "finish_reason": answer.finish_reason,
        "tokens": [answer.prompt_tokens, answer.completion_tokens],
        "identity": engine.identity.model_dump(),
        "engine": [engine.name, engine.version, dict(engine.versions)],
        "sampling": answer.sampling.model_dump(),
        "created": answer.created,
    }


def _parsed(record: dict[str, Any]) -> tuple[bytes, Answer]:
    key = bytes.fromhex(record["key"])
    if len(key) != KEY_BYTES:
        raise ValueError(f"a key has {KEY_BYTES} bytes, this one {len(key)}")
    name, version, versions = record["engine"]
    prompt, completion = record["tokens"]
    identity = ModelIdentity.model_validate(record["identity"])
    return key, Answer(
        text=str(record["text"]),
        finish_reason=str(record["finish_reason"]),
        prompt_tokens=int(prompt),
        completion_tokens=int(completion),
        engine=Engine(identity, str(name), str(version), tuple(sorted(versions.items()))),
        sampling=Sampling.model_validate(record["sampling"]),
        created=int(record["created"]),
    )

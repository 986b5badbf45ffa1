"""Which LLM is meant: a pinned revision of a repository, or a digest of a folder's files."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from radialog_instruct.errors import DataError, ModelError
from radialog_instruct.replay.request import ModelIdentity

UNPINNED = "main"
"""A revision that may mean other weights tomorrow."""
_SAMPLED = 1 << 20
_IGNORED = frozenset({".cache", ".git"})


def model_identity(model: str, revision: str | None, chat_template: Path | None) -> ModelIdentity:
    """Return the identity of a model.

    A repository's revision is resolved to a commit where the Hub's local cache knows it; otherwise it stays as given,
    and a name such as "main" may mean other weights tomorrow.

    Args:
        model: A repository, or a folder.
        revision: Revision of the repository.
        chat_template: A chat template that replaces the model's own.

    Raises:
        ModelError: If a folder holds no model.
        DataError: If the template cannot be read.
    """
    folder = Path(model)
    if folder.is_dir():
        return ModelIdentity(
            model=folder.resolve().name, revision=folder_digest(folder), chat_template=_hash(chat_template)
        )
    if model.startswith((".", "/", "~")):
        raise ModelError("no such folder", where=model, mend="give a folder with a model, or a repository's name")
    commit = _cached_commit(model, revision)
    return ModelIdentity(model=model, revision=commit or revision or UNPINNED, chat_template=_hash(chat_template))


def folder_digest(folder: Path) -> str:
    """Return a digest of a model's files: names, sizes, small files whole, of weights the first and last MiB.

    Args:
        folder: A folder with ``config.json``.

    Raises:
        ModelError: If it holds no model.
    """
    if not (folder / "config.json").is_file():
        raise ModelError("no config.json here", where=str(folder), mend="give a folder with a Hugging Face model")
    hasher = sha256()
    files = (path for path in folder.rglob("*") if path.is_file())
    for path in sorted(files, key=lambda p: p.relative_to(folder).as_posix()):
        name = path.relative_to(folder)
        if _IGNORED & set(name.parts) or name.suffix in (".md", ".lock", ".tmp"):
            continue
        size = path.stat().st_size
        hasher.update(f"{name.as_posix()} {size}\n".encode())
        with path.open("rb") as handle:
            hasher.update(handle.read(_SAMPLED))
            if size > 2 * _SAMPLED:
                handle.seek(-_SAMPLED, 2)
            hasher.update(handle.read())
    return hasher.hexdigest()[:40]


def _cached_commit(model: str, revision: str | None) -> str | None:
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(model, "config.json", revision=revision)
    except ValueError:
        return None
    return Path(found).parent.name if isinstance(found, str) else None


def _hash(template: Path | None) -> str | None:
    if template is None:
        return None
    try:
        return sha256(template.read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise DataError(f"cannot read: {error.strerror}", where=str(template), mend="check --chat-template") from error

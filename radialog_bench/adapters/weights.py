"""Which weights answer: a pinned revision, or a digest of a folder's files."""

from __future__ import annotations

from hashlib import file_digest, sha256
from pathlib import Path

from radialog_instruct.errors import ModelError
from radialog_instruct.replay.identity import UNPINNED, model_identity

_IGNORED = frozenset({".cache", ".git"})


def local_model(model: str) -> str:
    """Return a folder with ``~`` expanded, and a repository's name as it is.

    Raises:
        ModelError: If the name can only be a folder's and there is none.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        return str(folder)
    if model.startswith((".", "/", "~")):
        raise ModelError("no such folder", where=model, mend="give a folder with a model, or a repository's name")
    return model


def weights_fingerprint(model: str, revision: str | None) -> str:
    """Return what identifies a model's weights.

    For a folder, a digest of the bytes of all its files (a minute for a hundred gigabytes): a run that is resumed with
    other weights would otherwise mix their answers. For a repository, its commit where the local cache knows it, so ask
    after loading.

    Args:
        model: Repository or folder.
        revision: Revision of the repository.

    Raises:
        ModelError: If a folder holds no model.
    """
    folder = Path(model).expanduser()
    if not folder.is_dir():
        identity = model_identity(model, revision, None)
        return f"{identity.model}@{identity.revision}"
    if not (folder / "config.json").is_file():
        raise ModelError("no config.json here", where=model, mend="give a folder with a Hugging Face model")
    hasher = sha256()
    for path in sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder).as_posix()):
        name = path.relative_to(folder)
        if not path.is_file() or _IGNORED & set(name.parts) or name.suffix in (".md", ".lock", ".tmp"):
            continue
        with path.open("rb") as handle:
            hasher.update(f"{name.as_posix()} {file_digest(handle, 'sha256').hexdigest()}\n".encode())
    return hasher.hexdigest()


def unpinned_notice(model: str, revision: str | None) -> tuple[str, ...]:
    """Return a notice where the weights behind a name may be others tomorrow."""
    if Path(model).expanduser().is_dir() or not weights_fingerprint(model, revision).endswith(f"@{UNPINNED}"):
        return ()
    return (f"{model}: the revision is not pinned; give --model-args revision=COMMIT",)

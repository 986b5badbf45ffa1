"""What a command needs installed before it starts."""

from __future__ import annotations

from radialog_instruct.errors import missing_extra


def need_torch(*more: str) -> None:
    """Check that the extra ``model`` is there.

    Args:
        *more: Packages of that extra that the command needs beside torch, transformers and accelerate.

    Raises:
        UsageError: If it is not, with the command that installs it.
    """
    for package in ("torch", "transformers", "accelerate", *more):
        try:
            __import__(package)
        except ModuleNotFoundError as error:
            raise missing_extra(package, "model") from error

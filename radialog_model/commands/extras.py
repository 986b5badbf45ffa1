"""What a command needs installed before it starts."""

from __future__ import annotations

from radialog_instruct.errors import missing_extra


def need_torch() -> None:
    """Check that the extra ``model`` is there.

    Raises:
        UsageError: If it is not, with the command that installs it.
    """
    for package in ("torch", "transformers", "accelerate"):
        try:
            __import__(package)
        except ModuleNotFoundError as error:
            raise missing_extra(package, "model") from error

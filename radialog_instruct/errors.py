"""Errors a user can mend: each says what happened, where, and what to do, and knows its exit code."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of all three command line programs."""

    COMPLETE = 0
    """Everything asked for was done."""
    FAILED_SAMPLES = 1
    """The run finished, but samples or metrics failed."""
    USAGE = 2
    """Unknown flag, bad configuration, undefined template variable."""
    DATA = 3
    """Data missing, unreadable, or failing an integrity check."""
    MODEL = 4
    """A model failed to load or broke the adapter contract."""
    NOTHING_SCORED = 5
    """A benchmark run ended without one scored sample."""
    INTERRUPTED = 130
    """Stopped by Ctrl+C; the resume command is printed."""


class RadialogError(Exception):
    """Base of the errors that end a command with one line instead of a traceback.

    Args:
        what: What went wrong, without a final full stop.
        where: The file, row, id or option concerned.
        mend: What the user can do about it.
    """

    exit_code: ExitCode = ExitCode.FAILED_SAMPLES

    def __init__(self, what: str, *, where: str | None = None, mend: str | None = None) -> None:
        self.what, self.where, self.mend = what, where, mend
        line = f"{where}: {what}" if where else what
        super().__init__(f"{line}. {mend}" if mend else line)

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions with keyword-only arguments do not survive a process pool's pickling without help.
        return (_rebuild, (type(self), self.what, self.where, self.mend))


def _rebuild(kind: type[RadialogError], what: str, where: str | None, mend: str | None) -> RadialogError:
    return kind(what, where=where, mend=mend)


class UsageError(RadialogError):
    """A command line, configuration or template that cannot be used."""

    exit_code = ExitCode.USAGE


class DataError(RadialogError):
    """Data that is missing, malformed or inconsistent."""

    exit_code = ExitCode.DATA


class ModelError(RadialogError):
    """A model that cannot be loaded, or an adapter that broke its contract."""

    exit_code = ExitCode.MODEL


class NothingScoredError(RadialogError):
    """A benchmark run in which no sample could be scored."""

    exit_code = ExitCode.NOTHING_SCORED


def missing_extra(package: str, extra: str) -> UsageError:
    """Build the error for an optional dependency that is not installed.

    Args:
        package: The import name that failed.
        extra: The extra of this distribution that provides it.
    """
    return UsageError(f"{package} is not installed", mend=f'pip install "radialog[{extra}]"')

"""What the three command line programs share: one line for an error, the right exit code, a resumable Ctrl+C."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence

import typer

from radialog_instruct.errors import ExitCode, RadialogError

# typer carries a click of its own in some versions and imports click in others; this is the base of either's errors.
_CLICK_ERROR: type[Exception] = next(k for k in typer.BadParameter.__mro__ if k.__name__ == "ClickException")


def run_app(app: typer.Typer, program: str, arguments: Sequence[str] | None = None) -> int:
    """Run a typer application and return its exit code.

    A ``RadialogError`` becomes one line on stderr and its own exit code, a wrong flag exit code 2, and Ctrl+C exit
    code 130 with the command that resumes the work.

    Args:
        app: The application.
        program: Its name, for messages.
        arguments: Command line arguments; those of the process by default.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    command = typer.main.get_command(app)
    try:
        status = command.main(given, prog_name=program, standalone_mode=False)
    except RadialogError as error:
        _print_error(program, str(error))
        return int(error.exit_code)
    except _CLICK_ERROR as error:
        message: str = error.format_message()  # type: ignore[attr-defined]
        _print_error(program, f"{message.rstrip('.')}. See {program} --help")
        return int(ExitCode.USAGE)
    except (typer.Abort, KeyboardInterrupt):
        status = int(ExitCode.INTERRUPTED)
    # Some versions of typer raise on Ctrl+C, others return 130.
    if status == ExitCode.INTERRUPTED:
        _print_error(program, f"interrupted; resume with: {shlex.join([program, *given])}")
    return int(status) if isinstance(status, int) else int(ExitCode.COMPLETE)


def _print_error(program: str, message: str) -> None:
    one_line = " ".join(message.split())
    print(f"{program}: {one_line}", file=sys.stderr)

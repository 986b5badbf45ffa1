"""``radialog-model chat``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from radialog_instruct.errors import DataError, ExitCode, RadialogError, UsageError
from radialog_model.commands.extras import need_torch

if TYPE_CHECKING:
    from radialog_instruct.sources.images import LoadedImage
    from radialog_model.chat import ChatSession

HELP = """/image PATH       talk about another image
/findings [TEXT]  show the findings text of the prompt, or set it: a text, predicted, or off
/report           ask for the report in the published words
/save FILE        write the dialog as JSON
/reset            begin a new dialog about the same image
/help             this list
/quit             end (so does the end of the input)
Ctrl+C stops an answer. Everything else is said to the model."""


def chat(
    image: Annotated[Path | None, typer.Option(help="An X-ray as JPEG, PNG or DICOM.")] = None,
    weights: Annotated[
        str | None, typer.Option(help="Folder or Hub repository; the demonstration weights by default.")
    ] = None,
    findings: Annotated[str, typer.Option(help="Findings text: predicted, off, or the text itself.")] = "predicted",
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of an answer.")] = 300,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 decodes greedily.")] = 0.0,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
) -> None:
    """Talk with the model about an image; reads a line a turn, also from a pipe."""
    if image is not None and not image.is_file():
        raise DataError("no such image", where=str(image), mend="check --image")
    need_torch()
    from radialog_instruct.sources.images import read_image
    from radialog_model.chat import RESEARCH_USE, ChatSession
    from radialog_model.checkpoint import load_checkpoint
    from radialog_model.generate import Sampling

    picture = None if image is None else read_image(image)
    checkpoint = load_checkpoint(weights, device=device)
    session = ChatSession(
        checkpoint,
        None if picture is None else picture.image,
        findings=None if findings == "off" else findings,
        sampling=Sampling(max_new_tokens, temperature),
        name=None if image is None else str(image),
    )
    terminal = Terminal(session, interactive=sys.stdin.isatty())
    for notice in (RESEARCH_USE, *checkpoint.notices):
        terminal.note(notice)
    if picture is not None:
        terminal.note_image(picture)
        terminal.note(f"Findings in the prompt: {session.findings or 'none'}")
    if terminal.interactive:
        terminal.note("/help lists the commands.")
    failures = terminal.run()
    # A script wants to know; to a person the errors were shown.
    if failures and not terminal.interactive:
        raise typer.Exit(int(ExitCode.FAILED_SAMPLES))


class Terminal:
    """Reads turns and commands, writes answers on stdout and everything else on stderr.

    Args:
        session: The conversation.
        interactive: Whether a person types; a prompt is shown then.
    """

    def __init__(self, session: ChatSession, *, interactive: bool) -> None:
        self._session, self.interactive = session, interactive
        self._dim = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
        self._commands: dict[str, Callable[[str], None]] = {
            "/image": self.show,
            "/findings": self._findings,
            "/report": self._report,
            "/save": self._save,
            "/reset": self._reset,
            "/help": lambda _: self.note(HELP),
        }

    def run(self) -> int:
        """Go on until ``/quit`` or the end of the input.

        Returns:
            How many turns failed.
        """
        failures = 0
        for line in self._lines():
            if line.partition(" ")[0] == "/quit":
                break
            try:
                self._turn(line)
            except KeyboardInterrupt:
                print(flush=True)
                self.note("stopped")
            except RadialogError as error:
                failures += 1
                self.note(str(error))
            except Exception as error:  # noqa: BLE001 - whatever a turn runs into, the dialog is not lost
                failures += 1
                self.note(f"this turn failed ({type(error).__name__}: {error})")
        return failures

    def note(self, text: str) -> None:
        """Write something that is no answer."""
        print(f"\033[2m{text}\033[0m" if self._dim else text, file=sys.stderr, flush=True)

    def note_image(self, picture: LoadedImage) -> None:
        """Write what should be known about an image before its answers are read."""
        from radialog_instruct.sources.dicom_notes import is_lateral

        for text in picture.notes:
            self.note(text)
        if is_lateral(picture.notes):
            self.note("Its report rests on this lateral view alone.")

    def show(self, path: str) -> None:
        """Switch to an image.

        Raises:
            DataError: If it cannot be read.
        """
        from radialog_instruct.sources.images import read_image

        if not path:
            raise UsageError("no path", where="/image", mend="/image PATH")
        picture = read_image(Path(path).expanduser())
        self._session.show(picture.image, path)
        self.note_image(picture)
        self._findings("")

    def _lines(self) -> Iterator[str]:
        if self.interactive:
            import readline  # noqa: F401 - gives input() its line editing and history
        while True:
            try:
                line = input("> " if self.interactive else "").strip()
            except EOFError:
                return
            except KeyboardInterrupt:
                if not self.interactive:
                    raise
                print(flush=True)
                self.note("/quit or Ctrl+D ends the session.")
                continue
            if line:
                yield line

    def _turn(self, line: str) -> None:
        name, _, rest = line.partition(" ")
        if not name.startswith("/"):
            self._say(line)
        elif name in self._commands:
            self._commands[name](rest.strip())
        else:
            raise UsageError(f"no command {name}", mend="/help lists them")

    def _say(self, text: str) -> None:
        if self._session.image is None:
            raise DataError("no image yet", mend="/image PATH")
        with closing(self._session.stream(text)) as pieces:
            for piece in pieces:
                print(piece, end="", flush=True)
        print(flush=True)
        last = self._session.last
        if last is not None and last.dropped_turns:
            self.note(f"The dialog is longer than the model's context: {last.dropped_turns} early turns were left out.")
        if last is not None and last.finish != "stop":
            self.note("The answer was cut off here.")

    def _report(self, _: str) -> None:
        from radialog_instruct.prompts import CONSTANTS, default_prompts

        self._say(default_prompts().render(CONSTANTS, "report"))

    def _findings(self, text: str) -> None:
        if text:
            self._session.findings = None if text == "off" else text
        self.note(f"Findings in the prompt: {self._session.findings or 'none'}")

    def _save(self, path: str) -> None:
        if not path:
            raise UsageError("no file", where="/save", mend="/save FILE")
        self._session.save(Path(path).expanduser())
        self.note(f"Saved to {path}")

    def _reset(self, _: str) -> None:
        self._session.reset()
        self.note("A new dialog begins.")

"""A dialog about one image, for people: history, streaming, reports and corrections."""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from radialog_instruct.errors import UsageError
from radialog_instruct.prompts import CONSTANTS, default_prompts
from radialog_instruct.records import Turn
from radialog_model.checkpoint import Checkpoint
from radialog_model.decoding import Decoder, Prefix, Row
from radialog_model.features import image_key
from radialog_model.generate import Answer, Answerer, Prompt, Question, Sampling, fitted_prompt, predict_findings

PREDICTED = "predicted"
"""Stands for the text that the checkpoint's own findings head predicts."""
RESEARCH_USE = "For research only: this is no medical device, and nothing it says may guide the care of a patient."
_TASK = "report_generation"


class ChatSession:
    """A conversation with the model.

    The first turn carries the image and, unless switched off, the findings text, as in the published layout. What was
    computed for the dialog so far is kept, so that a further question costs its own tokens only.

    Args:
        model: A checkpoint, or an ``Answerer`` shared by several sessions.
        image: The image, or None for a dialog without one.
        findings: ``predicted``, a text of your own, or None for a prompt without findings.
        sampling: How answers are decoded; greedily with up to 300 tokens by default.
        name: What the image is called in the saved dialog.

    Attributes:
        last: The last answer with its counts, or None.
    """

    def __init__(
        self,
        model: Checkpoint | Answerer,
        image: Image.Image | None = None,
        *,
        findings: str | None = PREDICTED,
        sampling: Sampling | None = None,
        name: str | None = None,
    ) -> None:
        self._answerer = model if isinstance(model, Answerer) else Answerer(model)
        self._sampling = sampling or Sampling()
        self._decoder: Decoder | None = None
        self._predicted: dict[str, str | None] = {}
        self._wanted: str | None = None
        self.last: Answer | None = None
        self.show(image, name)
        self._wanted = findings

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The dialog so far."""
        return tuple(self._turns)

    @property
    def findings(self) -> str | None:
        """The findings text of the first turn; None where there is none."""
        if self._wanted != PREDICTED:
            return self._wanted
        if self._image is None or self._key is None:
            return None
        if self._key not in self._predicted:
            self._predicted[self._key] = predict_findings(self._answerer.checkpoint, [self._image])[0]
        return self._predicted[self._key]

    @findings.setter
    def findings(self, text: str | None) -> None:
        self._wanted = text

    @property
    def image(self) -> Image.Image | None:
        """The image that is talked about."""
        return self._image

    def show(self, image: Image.Image | None, name: str | None = None) -> None:
        """Switch to another image and begin a new dialog; a findings text of your own belonged to the last one."""
        self._image, self._name = image, name
        if self._wanted is not None:
            self._wanted = PREDICTED
        self._key = None if image is None else image_key(image)
        self.reset()

    def reset(self) -> None:
        """Begin a new dialog about the same image."""
        self._turns: list[Turn] = []
        self._prefix: Prefix | None = None
        self.last = None

    def ask(self, text: str) -> str:
        """Say something and return the whole answer.

        Raises:
            DataError: If the dialog no longer fits the model; it stays as it was.
        """
        return "".join(self.stream(text))

    def report(self) -> str:
        """Ask for the report in the published words."""
        return self.ask(default_prompts().render(CONSTANTS, "report"))

    def correct(self, *, add: Sequence[str] = (), remove: Sequence[str] = ()) -> str:
        """Ask for a corrected report in the published words.

        Args:
            add: Findings the report misses.
            remove: Findings it is wrong about.

        Raises:
            UsageError: If there is no report yet, or nothing to correct.
        """
        return self.ask(self.correction(add=add, remove=remove))

    def correction(self, *, add: Sequence[str] = (), remove: Sequence[str] = ()) -> str:
        """Return the words that ask for a correction.

        Raises:
            UsageError: If there is no report yet, or nothing to correct.
        """
        if not self._turns:
            raise UsageError("there is no report to correct yet", mend="ask for the report first")
        if not add and not remove:
            raise UsageError("nothing to correct", mend="name findings to add or to remove")
        slots = {"missing": ", ".join(add).lower(), "wrong": ", ".join(remove).lower()}
        block, used = ("both", slots) if add and remove else ("add", {"missing": slots["missing"]})
        if not add:
            block, used = "remove", {"wrong": slots["wrong"]}
        return default_prompts().render(CONSTANTS, f"correction_{block}", **used)

    def stream(self, text: str) -> Generator[str, None, None]:
        """Say something and yield the answer piece by piece; the pieces join to what ``ask`` returns.

        Whoever stops early leaves what was said so far in the dialog.

        Raises:
            DataError: If the dialog no longer fits the model; it stays as it was.
        """
        asked = Turn("user", text)
        question = Question((*self._turns, asked), _TASK, self._image, self.findings, self._key)
        prompt = fitted_prompt(self._answerer.checkpoint, question, self._sampling.max_new_tokens)
        row, pieces = self._begin(prompt)
        assert self._decoder is not None
        try:
            while row.done is None:
                if piece := pieces.more():
                    yield piece
                self._decoder.step()
            if piece := pieces.more():
                yield piece
        finally:
            self._decoder.cancel()
            self._prefix = row.prefix or self._prefix
            self.last = self._answerer.finished(prompt, row)
            if row.done is not None or self.last.text:
                self._turns += [asked, Turn("assistant", self.last.text)]

    def _begin(self, prompt: Prompt) -> tuple[Row, Pieces]:
        if self._decoder is None:
            self._decoder = self._answerer.new_decoder(1, self._answerer.context)
        image, key = prompt.question.image, self._key
        features = None if image is None or key is None else self._answerer.features.get({key: image})[key]
        job = self._answerer.job(prompt, self._sampling, features, key, prefix=self._prefix, keep=True)
        self._decoder.cancel()  # of a turn that was interrupted
        ended = self._decoder.admit([job])
        row = ended[0] if ended else self._decoder.running[0]
        return row, Pieces(self._answerer, row)

    def dialog(self) -> dict[str, Any]:
        """Return the dialog as plain data: the messages, the findings text, the image's name and the model."""
        checkpoint = self._answerer.checkpoint
        return {
            "model": {"fingerprint": checkpoint.fingerprint, "notices": list(checkpoint.notices)},
            "image": self._name,
            "findings": self.findings,
            "messages": [{"role": turn.role, "content": turn.content} for turn in self._turns],
        }

    def save(self, path: Path) -> None:
        """Write the dialog as JSON.

        Raises:
            UsageError: If the file cannot be written.
        """
        try:
            path.write_text(json.dumps(self.dialog(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        except OSError as error:
            raise UsageError(f"cannot write: {error.strerror}", where=str(path), mend="choose another file") from error


class Pieces:
    """The text of an answer under way, piece by piece.

    Args:
        answerer: Turns tokens into text.
        row: The answer under way.
    """

    def __init__(self, answerer: Answerer, row: Row) -> None:
        self._answerer, self._row, self._said = answerer, row, ""
        self._held = max((len(stop) for stop in row.job.stops), default=1) - 1

    def more(self) -> str:
        """Return what came since the last call; half a character, and what may begin a stop, is held back."""
        text = self._answerer.text(self._row)
        if self._row.done is None:
            text = text.rstrip("\N{REPLACEMENT CHARACTER}")
            text = text[: max(len(text) - self._held, len(self._said))].rstrip()
        new = text[len(self._said) :]
        self._said += new
        return new

"""From a dialog to token ids, and which of them are supervised.

The chat template itself marks what the assistant says (``{% generation %}``). Tokenizing prompt and answer apart would
miss merges across their border, the fault that made LLaVA's loss silently 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from transformers import LlavaProcessor
from transformers.utils.chat_template_utils import render_jinja_template

from radialog_instruct.context import drop_context
from radialog_instruct.errors import DataError
from radialog_instruct.records import Turn
from radialog_model.data.rows import Row
from radialog_model.prompts import IMAGE_TOKEN, Variant, asks_for_a_report_first, layout

IGNORED = -100
"""Label of a token that is not supervised."""
Supervision = Literal["last", "all"]


@dataclass(frozen=True)
class Encoded:
    """Token ids of a dialog with their labels, ``IGNORED`` where a token is not supervised."""

    ids: list[int]
    labels: list[int]


@dataclass(frozen=True)
class DialogEncoder:
    """Turns dialogs into token ids the way the model will read them in generation.

    Attributes:
        processor: The processor; its chat template marks the answers.
        n_image_tokens: Tokens an image takes.
        variant: Which of the two published layouts.
        supervise: ``last`` assistant turn (the paper) or ``all`` of them.
        image: False leaves the image out, an ablation.
        findings: False leaves the findings text out, an ablation.
    """

    processor: LlavaProcessor
    n_image_tokens: int
    variant: Variant = "project"
    supervise: Supervision = "last"
    image: bool = True
    findings: bool = True

    def row(self, row: Row, *, epoch: int, seed: int) -> Encoded:
        """Encode a row after one draw of context dropping.

        Args:
            row: The row; a row that already shows one draw keeps it.
            epoch: Every epoch draws anew.
            seed: Seed of the draw.

        Raises:
            DataError: If no token is supervised.
        """
        turns = row.turns
        if not row.drawn:
            turns = drop_context(turns, row.task, row.report_turn, row.id, epoch=epoch, seed=seed).turns
        try:
            return self.dialog(turns, row.task, row.findings)
        except DataError as error:
            raise DataError(error.what, where=f"row {row.id}", mend=error.mend) from error

    def dialog(self, turns: Sequence[Turn], task: str, findings: str | None) -> Encoded:
        """Encode a dialog that ends with the assistant's target.

        Args:
            turns: The neutral dialog.
            task: Its task.
            findings: The findings text; it is used only where the dialog begins with the report prompt.

        Raises:
            DataError: If no token is supervised.
        """
        shown = findings if self.findings and asks_for_a_report_first(task, len(turns) - 1) else None
        chat = layout(turns, shown, variant=self.variant, image=self.image)
        chat[1]["content"] = chat[1]["content"].replace(IMAGE_TOKEN, IMAGE_TOKEN * self.n_image_tokens)
        tokenizer: Any = self.processor.tokenizer
        template: Any = self.processor.chat_template
        rendered: Any = render_jinja_template(
            conversations=[chat],
            chat_template=template,
            return_assistant_tokens_mask=True,
            **tokenizer.special_tokens_map,
        )
        (text,), (answers,) = rendered
        if not answers:
            raise DataError("the chat template marks no answer", mend="put {% generation %} around what is supervised")
        begin = tokenizer.bos_token or ""
        # One text, as generation and servers tokenize it: a first token apart could get other neighbours.
        encoded = tokenizer(begin + text, add_special_tokens=False, return_offsets_mapping=True)
        spans = [(first + len(begin), last + len(begin)) for first, last in answers]
        if self.supervise == "last":
            spans = spans[-1:]
        kept = [any(first <= start < last for first, last in spans) for start, _ in encoded["offset_mapping"]]
        if not any(kept):
            raise DataError("no token of the answer is supervised", where=task, mend="is the answer empty?")
        ids = encoded["input_ids"]
        return Encoded(ids, [token if keep else IGNORED for token, keep in zip(ids, kept, strict=True)])

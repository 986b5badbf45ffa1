"""Batched greedy generation from neutral dialogs about images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from radialog_instruct.records import Turn
from radialog_model.checkpoint import Checkpoint
from radialog_model.prompts import asks_for_a_report_first, layout


@dataclass(frozen=True)
class Question:
    """A dialog that waits for its next answer.

    Attributes:
        turns: The neutral dialog, ending with a user turn.
        task: Task of the last user turn.
        image: The image, as ``radialog_instruct.sources.images.load_image`` gives it.
        findings: The findings text, or None for a prompt without one.
    """

    turns: tuple[Turn, ...]
    task: str
    image: Image.Image
    findings: str | None = None


@dataclass(frozen=True)
class Answer:
    """An answer and the number of tokens it took."""

    text: str
    new_tokens: int


def prompt_text(checkpoint: Checkpoint, question: Question) -> str:
    """Return the prompt as the model reads it, with one image placeholder."""
    shown = question.findings if asks_for_a_report_first(question.task, len(question.turns)) else None
    text: str = checkpoint.processor.tokenizer.apply_chat_template(
        layout(question.turns, shown, variant=checkpoint.variant),
        tokenize=False,
        chat_template=checkpoint.processor.chat_template,
    )
    return f"{checkpoint.processor.tokenizer.bos_token}{text}"


@torch.inference_mode()
def answer(
    checkpoint: Checkpoint, questions: Sequence[Question], *, max_new_tokens: int = 300, temperature: float = 0.0
) -> list[Answer]:
    """Answer questions in one batch, padded on the left.

    Args:
        checkpoint: The model.
        questions: The questions.
        max_new_tokens: Most tokens an answer may take.
        temperature: 0 decodes greedily.

    Returns:
        One answer a question, in their order.
    """
    # transformers types generate() for a protocol that its own LLaVA does not satisfy
    model: Any = checkpoint.model
    processor = checkpoint.processor
    prompts = [prompt_text(checkpoint, question) for question in questions]
    images = [question.image for question in questions]
    inputs = processor(text=prompts, images=images, padding=True, return_tensors="pt", add_special_tokens=False).to(
        model.device, model.dtype
    )
    # Each answer has the room its own prompt leaves: what stands beside it in the batch must not change it.
    room = (model.config.text_config.max_position_embeddings - inputs["attention_mask"].sum(1)).clamp(min=1)
    sampling = {"do_sample": True, "temperature": temperature} if temperature > 0 else {"do_sample": False}
    sequences = model.generate(
        **inputs,
        max_new_tokens=min(max_new_tokens, int(room.max())),
        pad_token_id=processor.tokenizer.pad_token_id,
        eos_token_id=processor.tokenizer.eos_token_id,
        **sampling,
    )
    new = sequences[:, inputs["input_ids"].shape[1] :]
    beyond = torch.arange(new.shape[1], device=new.device) >= room[:, None]
    new = new.masked_fill(beyond, processor.tokenizer.pad_token_id)
    texts = processor.tokenizer.batch_decode(new, skip_special_tokens=True)
    lengths = (new != processor.tokenizer.pad_token_id).sum(1).tolist()
    return [Answer(text.strip(), length) for text, length in zip(texts, lengths, strict=True)]


def predict_findings(checkpoint: Checkpoint, images: Sequence[Image.Image]) -> list[str | None]:
    """Return the findings text predicted for each image; None where the checkpoint has no extractor."""
    return [None] * len(images) if checkpoint.findings is None else [*checkpoint.findings.texts(images)]

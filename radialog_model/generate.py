"""Answers to neutral dialogs about images, many at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from PIL import Image
from torch import Tensor

from radialog_instruct.errors import DataError
from radialog_instruct.records import Turn
from radialog_model.checkpoint import Checkpoint
from radialog_model.decoding import Decoder, Job, Prefix, Row
from radialog_model.features import CACHE_BYTES, FeatureCache, image_key
from radialog_model.processing import image_features
from radialog_model.prompts import IMAGE_TOKEN, asks_for_a_report_first, layout

Finish = Literal["stop", "length", "context"]
"""Why an answer ended: the model ended it, the limit did, or the model's context did."""


@dataclass(frozen=True)
class Question:
    """A dialog that waits for its next answer.

    Attributes:
        turns: The neutral dialog, ending with a user turn.
        task: Task of the last user turn.
        image: The image, as ``radialog_instruct.sources.images.load_image`` gives it, or None for a prompt without.
        findings: The findings text, or None for a prompt without one.
        image_key: Identity of the image, for whoever knows it already; a hash of its pixels by default.
    """

    turns: tuple[Turn, ...]
    task: str
    image: Image.Image | None
    findings: str | None = None
    image_key: str | None = None


@dataclass(frozen=True)
class Answer:
    """An answer, or the reason why there is none.

    Attributes:
        text: The answer, without surrounding blanks; empty where there is none.
        new_tokens: Tokens it took.
        prompt_tokens: Tokens of the prompt, image tokens included.
        dropped_turns: Turns of the dialog that were left out, because it is longer than the model's context.
        finish: Why it ended.
        error: Why there is no answer; None where there is one.
    """

    text: str
    new_tokens: int
    prompt_tokens: int = 0
    dropped_turns: int = 0
    finish: Finish = "stop"
    error: str | None = None


@dataclass(frozen=True)
class Sampling:
    """How answers are decoded.

    Attributes:
        max_new_tokens: Most tokens an answer may take.
        temperature: 0 decodes greedily.
        stop: An answer ends before the first of these.
        seed: Seed of sampling, where the temperature is above 0.
    """

    max_new_tokens: int = 300
    temperature: float = 0.0
    stop: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class Prompt:
    """A question in tokens, cut to the model's context.

    Attributes:
        ids: Token ids.
        question: The question with the turns that are left of it, and without special tokens in its texts.
        dropped_turns: Turns that were left out.
    """

    ids: tuple[int, ...]
    question: Question
    dropped_turns: int


def prompt_text(checkpoint: Checkpoint, question: Question) -> str:
    """Return the prompt as the model reads it, with one image placeholder where the question has an image.

    What users write is text: a special token in it is taken apart, so that it neither ends a turn nor stands for an
    image.
    """
    return _rendered(checkpoint, _as_text(checkpoint, question))


def _rendered(checkpoint: Checkpoint, question: Question) -> str:
    tokenizer = checkpoint.processor.tokenizer
    shown = question.findings if asks_for_a_report_first(question.task, len(question.turns)) else None
    text: str = tokenizer.apply_chat_template(
        layout(question.turns, shown, variant=checkpoint.variant, image=question.image is not None),
        tokenize=False,
        chat_template=checkpoint.processor.chat_template,
    )
    return f"{tokenizer.bos_token or ''}{text}"


def _as_text(checkpoint: Checkpoint, question: Question) -> Question:
    """Return a question whose turns and findings hold no special token."""
    tokenizer = checkpoint.processor.tokenizer
    added = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
    special = sorted({*tokenizer.all_special_tokens, *added, IMAGE_TOKEN})

    def apart(content: str) -> str:
        for token in special:
            content = content.replace(token, f"{token[0]} {token[1:]}")
        return content

    turns = tuple(Turn(turn.role, apart(turn.content)) for turn in question.turns)
    return replace(question, turns=turns, findings=None if question.findings is None else apart(question.findings))


def fitted_prompt(
    checkpoint: Checkpoint, question: Question, max_new_tokens: int, *, context: int | None = None
) -> Prompt:
    """Tokenize a question; of a dialog that is too long, the oldest turns after its first answer are left out.

    The first question and its answer always stay: the image tokens, the report prompt and the report. Up to a quarter
    of the context is kept free for the answer as long as there are turns to leave out.

    Args:
        checkpoint: The model.
        question: The question; special tokens in what users wrote are taken apart.
        max_new_tokens: Most tokens the answer may take.
        context: Most tokens of prompt and answer together; the model's context by default.

    Raises:
        DataError: If even the first question, its answer and the last question do not fit.
    """
    context = context or context_of(checkpoint)
    wanted = context - min(max_new_tokens, context // 4)
    question = _as_text(checkpoint, question)
    turns, dropped = question.turns, 0
    while True:
        left = replace(question, turns=turns)
        ids = _tokens(checkpoint, left)
        if len(ids) <= wanted or len(turns) < 5:
            break
        turns, dropped = turns[:2] + turns[4:], dropped + 2
    if len(ids) >= context:
        what = f"the prompt has {len(ids)} tokens, the model's context {context}"
        raise DataError(what, mend="ask a shorter question, or begin a new dialog")
    return Prompt(tuple(ids), left, dropped)


def context_of(checkpoint: Checkpoint) -> int:
    """Return the tokens of the model's context, prompt and answer together."""
    config: Any = checkpoint.model.config.text_config
    return int(config.max_position_embeddings)


def _tokens(checkpoint: Checkpoint, question: Question) -> list[int]:
    text = _rendered(checkpoint, question)
    if question.image is not None:
        crop: int = checkpoint.processor.image_processor.crop_size["height"]
        text = text.replace(IMAGE_TOKEN, IMAGE_TOKEN * image_features(checkpoint.model.config, crop), 1)
    ids: list[int] = checkpoint.processor.tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


class Answerer:
    """A checkpoint that answers; it keeps the features of images it has seen.

    Args:
        checkpoint: The model.
        batch_size: Most dialogs at a time.
        max_tokens: Most tokens, prompts and answers, that dialogs under way may take together.
        cache_bytes: Most bytes of image features that are kept.
        compile: Compile the decoding step for fixed shapes; worth it on a GPU and for long runs.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        batch_size: int = 32,
        max_tokens: int = 16_384,
        cache_bytes: int = CACHE_BYTES,
        compile: bool = False,
    ) -> None:
        self.checkpoint = checkpoint
        self.features = FeatureCache(checkpoint.model, checkpoint.processor.image_processor, max_bytes=cache_bytes)
        self._batch_size, self._max_tokens, self._compile = batch_size, max_tokens, compile
        self._decoder: Decoder | None = None

    def answer(self, questions: Sequence[Question], sampling: Sampling | None = None) -> list[Answer]:
        """Answer any number of questions; one that does not fit the model fails alone.

        Returns:
            One answer a question, in their order.
        """
        found = dict(self.answers(questions, sampling))
        return [found[place] for place in range(len(questions))]

    def answers(self, questions: Sequence[Question], sampling: Sampling | None = None) -> Iterator[tuple[int, Answer]]:
        """Answer questions and yield each answer with its place as soon as it is there."""
        sampling = sampling or Sampling()
        prompts: dict[int, Prompt] = {}
        for place, question in enumerate(questions):
            try:
                prompts[place] = fitted_prompt(self.checkpoint, question, sampling.max_new_tokens)
            except DataError as error:
                yield place, Answer("", 0, error=str(error))
        if not prompts:
            return
        # A run's features are held as long as it lasts, however small the cache is.
        keys = image_keys([prompt.question for prompt in prompts.values()])
        images = {key: p.question.image for key, p in zip(keys, prompts.values(), strict=True) if p.question.image}
        features = self.features.get({key: image for key, image in images.items() if key is not None})
        jobs = {
            self.job(prompt, sampling, features.get(key or ""), key): place
            for key, (place, prompt) in zip(keys, prompts.items(), strict=True)
        }
        for job, row in self._decoder_for(list(jobs)).run(jobs):
            yield jobs[job], self.finished(prompts[jobs[job]], row)

    def job(
        self,
        prompt: Prompt,
        sampling: Sampling,
        features: Tensor | None,
        key: str | None,
        *,
        prefix: Prefix | None = None,
        keep: bool = False,
    ) -> Job:
        """Return a prompt as the decoder takes it."""
        room = self.context - len(prompt.ids)
        return Job(
            ids=prompt.ids,
            features=features,
            image_key=key,
            limit=min(sampling.max_new_tokens, room),
            temperature=sampling.temperature,
            seed=sampling.seed,
            stops=sampling.stop,
            prefix=prefix,
            keep=keep,
        )

    def finished(self, prompt: Prompt, row: Row) -> Answer:
        """Return the answer of a row that ended."""
        text = self.text(row)
        finish: Finish = "stop" if row.done == "stop" else "length"
        if finish == "length" and len(prompt.ids) + len(row.new) >= self.context:
            finish = "context"
        return Answer(text, len(row.new), len(prompt.ids), prompt.dropped_turns, finish)

    def text(self, row: Row) -> str:
        """Return what a row says, up to the first of its stops."""
        text: str = self.checkpoint.processor.tokenizer.decode(row.new, skip_special_tokens=True)
        for stop in row.job.stops:
            text = text.split(stop, 1)[0]
        return text.strip()

    @property
    def context(self) -> int:
        """Tokens of the model's context."""
        return context_of(self.checkpoint)

    def new_decoder(self, slots: int, length: int) -> Decoder:
        """Return a decoder for ``slots`` rows of up to ``length`` tokens."""
        model: Any = self.checkpoint.model
        tokenizer = self.checkpoint.processor.tokenizer
        refill = max(1, slots // 4)
        return Decoder(model, tokenizer, slots=slots, length=length, refill=refill, compile=self._compile)

    def _decoder_for(self, jobs: Sequence[Job]) -> Decoder:
        if self._compile:  # one shape for all runs, or each would be compiled anew
            if self._decoder is None:
                slots = max(1, min(self._batch_size, self._max_tokens // self.context))
                self._decoder = self.new_decoder(slots, self.context)
            return self._decoder
        length = max(len(job.ids) + job.limit for job in jobs)
        return self.new_decoder(max(1, min(self._batch_size, len(jobs), self._max_tokens // length)), length)


def image_keys(questions: Sequence[Question]) -> list[str | None]:
    """Return the identity of each question's image; pixels shared by several questions are hashed once."""
    known: dict[int, str] = {}
    keys: list[str | None] = []
    for question in questions:
        if question.image is None or question.image_key is not None:
            keys.append(question.image_key if question.image is not None else None)
            continue
        if id(question.image) not in known:
            known[id(question.image)] = image_key(question.image)
        keys.append(known[id(question.image)])
    return keys


def answer(
    checkpoint: Checkpoint, questions: Sequence[Question], *, max_new_tokens: int = 300, temperature: float = 0.0
) -> list[Answer]:
    """Answer questions; whoever asks several times keeps an ``Answerer``, which remembers images.

    Args:
        checkpoint: The model.
        questions: The questions.
        max_new_tokens: Most tokens an answer may take.
        temperature: 0 decodes greedily.

    Returns:
        One answer a question, in their order.
    """
    return Answerer(checkpoint).answer(questions, Sampling(max_new_tokens, temperature))


def predict_findings(checkpoint: Checkpoint, images: Sequence[Image.Image]) -> list[str | None]:
    """Return the findings text predicted for each image; None where the checkpoint has no extractor."""
    return [None] * len(images) if checkpoint.findings is None else [*checkpoint.findings.texts(images)]

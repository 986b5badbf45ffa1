from __future__ import annotations

import copy
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from radialog_instruct.assets import demo_dir
from radialog_instruct.errors import DataError
from radialog_instruct.records import Turn
from radialog_instruct.sources.images import load_image
from radialog_model.checkpoint import Checkpoint, load_checkpoint
from radialog_model.decoding import Decoder, Job
from radialog_model.features import FeatureCache, image_key
from radialog_model.generate import (
    Answerer,
    Question,
    Sampling,
    answer,
    context_of,
    fitted_prompt,
    image_keys,
    prompt_text,
)
from radialog_model.slots import common_prefix

IMAGES = [load_image(path) for path in sorted((demo_dir() / "images").glob("*.jpg"))[:3]]
ASKED = (
    "Write the report.",
    "Is there any edema?",
    "Report, please, as briefly as you can.",
    "What do you see?",
    "Name the view.",
)


@pytest.fixture(scope="module")
def checkpoint(weights: Path) -> Checkpoint:
    return load_checkpoint(weights)


@pytest.fixture(scope="module")
def loud(weights: Path) -> Checkpoint:
    """The tiny model with large random weights and statistics, which talks until the limit and never twice the same."""
    loaded = load_checkpoint(weights)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in loaded.model.named_parameters():
            if value.ndim > 1:
                value.copy_(torch.randn(value.shape, generator=generator) * 0.15)
            elif "bn" in name:
                value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
    return loaded


def ask(place: int, text: str = "", task: str = "report_generation") -> Question:
    return Question((Turn("user", text or ASKED[place % len(ASKED)]),), task, IMAGES[place % 3], "edema")


def stock(checkpoint: Checkpoint, question: Question, tokens: int) -> str:
    """What ``generate`` of transformers says to one prompt."""
    inputs = checkpoint.processor(
        text=[prompt_text(checkpoint, question)],
        images=[question.image] if question.image else None,
        return_tensors="pt",
        add_special_tokens=False,
    )
    ids = checkpoint.model.generate(**inputs, max_new_tokens=tokens, do_sample=False)
    return checkpoint.processor.tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def test_many_questions_are_answered_as_transformers_answers_each(loud: Checkpoint) -> None:
    questions = [ask(place) for place in range(11)]
    # four rows at a time: prompts enter while others are under way, and rows move when one before them ends
    answerer = Answerer(loud, batch_size=4)
    answers = answerer.answer(questions, Sampling(25))
    assert [a.text for a in answers] == [stock(loud, q, 25).strip() for q in questions]
    assert len({a.text for a in answers}) > 5
    assert answerer.features.encoded == 3


def test_heads_that_share_keys_are_not_copied_and_say_the_same(loud: Checkpoint) -> None:
    from transformers import LlavaForConditionalGeneration

    config = copy.deepcopy(loud.model.config)
    config.text_config.num_key_value_heads = 2
    torch.manual_seed(2)
    model = LlavaForConditionalGeneration(config).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.ndim > 1 and "vision" not in name:
                value.normal_(0.0, 0.15)
    shared = replace(loud, model=model)
    questions = [ask(place) for place in range(5)]
    answers = Answerer(shared, batch_size=2).answer(questions, Sampling(15))
    assert [a.text for a in answers] == [stock(shared, q, 15).strip() for q in questions]
    assert model.config.text_config._attn_implementation == "sdpa"


def test_rows_of_different_length_come_and_go(loud: Checkpoint) -> None:
    answerer = Answerer(loud)
    jobs = []
    for place, limit in enumerate((9, 1, 14, 3, 6, 2, 11)):
        prompt = fitted_prompt(loud, ask(place), limit)
        key = image_key(prompt.question.image)
        jobs.append(
            answerer.job(prompt, Sampling(limit), answerer.features.get({key: prompt.question.image})[key], key)
        )
    decoder = answerer.new_decoder(3, max(len(job.ids) + job.limit for job in jobs))
    rows = dict(decoder.run(jobs))
    assert [len(rows[job].new) for job in jobs] == [job.limit for job in jobs]
    assert {row.done for row in rows.values()} == {"length"}
    alone = [next(answerer.new_decoder(1, len(j.ids) + j.limit).run([j]))[1].new for j in jobs]
    assert [rows[job].new for job in jobs] == alone


def test_cached_features_answer_exactly_as_pixels_do(loud: Checkpoint) -> None:
    cache = FeatureCache(loud.model, loud.processor.image_processor)
    first = cache.get({"a": IMAGES[0]})["a"]
    again = cache.get({"a": IMAGES[0]})["a"]
    assert again is first
    assert cache.encoded == 1
    question = ask(0)
    inputs = loud.processor(
        text=[prompt_text(loud, question)], images=[question.image], return_tensors="pt", add_special_tokens=False
    )
    direct = loud.model(**inputs).logits
    embeds = Decoder(loud.model, loud.processor.tokenizer, slots=1, length=9)._embedded(
        Job(tuple(inputs["input_ids"][0].tolist()), first, "a", 1), 0
    )
    assert torch.equal(loud.model(inputs_embeds=embeds[None]).logits, direct)


def test_the_least_recently_used_features_go_when_room_is_short(checkpoint: Checkpoint) -> None:
    one = FeatureCache(checkpoint.model, checkpoint.processor.image_processor)
    size = one.get({"a": IMAGES[0]})["a"].nbytes
    cache = FeatureCache(checkpoint.model, checkpoint.processor.image_processor, max_bytes=2 * size)
    for key in ("a", "b", "a", "c", "a", "b"):
        cache.get({key: IMAGES[0]})
    assert cache.encoded == 4  # b is dropped for c
    assert cache.kept_bytes == 2 * size
    none = FeatureCache(checkpoint.model, checkpoint.processor.image_processor, max_bytes=0)
    assert set(none.get({"a": IMAGES[0], "b": IMAGES[1]})) == {"a", "b"}
    assert none.kept_bytes == 0


def test_images_are_told_apart_by_their_pixels() -> None:
    copy, turned = IMAGES[0].copy(), IMAGES[0].rotate(90, expand=True)
    keys = image_keys([ask(0), replace(ask(0), image=copy), replace(ask(0), image=turned), replace(ask(0), image=None)])
    assert keys[0] == keys[1]
    assert len({*keys}) == 3
    assert keys[3] is None


def long_dialog(exchanges: int, words: int) -> tuple[Turn, ...]:
    turns = [Turn("user", "Write the report."), Turn("assistant", "Clear lungs.")]
    for place in range(exchanges):
        turns += [Turn("user", f"Question {place}?"), Turn("assistant", "word " * words)]
    return (*turns, Turn("user", "And now?"))


def test_a_long_dialog_loses_its_oldest_turns_after_the_report(checkpoint: Checkpoint) -> None:
    question = Question(long_dialog(30, 40), "findings_qa_binary", IMAGES[0], "edema")
    prompt = fitted_prompt(checkpoint, question, 50)
    context = context_of(checkpoint)
    assert prompt.dropped_turns > 0
    assert len(prompt.ids) <= context - 50
    kept = prompt.question.turns
    assert kept[:2] == question.turns[:2]
    assert kept[2:] == question.turns[2 + prompt.dropped_turns :]
    image = checkpoint.model.config.image_token_id
    assert prompt.ids.count(image) == 4
    # one more exchange would not have fitted
    fuller = replace(question, turns=question.turns[:2] + question.turns[prompt.dropped_turns :])
    assert fitted_prompt(checkpoint, fuller, 50).dropped_turns == 2
    result = answer(checkpoint, [question], max_new_tokens=5)[0]
    assert result.dropped_turns == prompt.dropped_turns
    assert result.error is None


def test_what_does_not_fit_fails_alone(checkpoint: Checkpoint) -> None:
    endless = ask(0, "word " * 3000)
    with pytest.raises(DataError, match="the model's context 1024"):
        fitted_prompt(checkpoint, endless, 5)
    first, failed, last = answer(checkpoint, [ask(0), endless, ask(1)], max_new_tokens=4)
    assert failed.error is not None
    assert "tokens" in failed.error
    assert failed.text == ""
    assert (first.error, last.error) == (None, None)


def test_an_answer_that_the_context_ends_says_so(loud: Checkpoint) -> None:
    tokens = len(fitted_prompt(loud, ask(0), 1).ids)
    words = context_of(loud) - tokens - 6
    per_word = len(loud.processor.tokenizer("word word", add_special_tokens=False)["input_ids"]) - len(
        loud.processor.tokenizer("word", add_special_tokens=False)["input_ids"]
    )
    result = answer(loud, [ask(0, ASKED[0] + " word" * (words // per_word))], max_new_tokens=100)[0]
    assert result.finish == "context"
    assert 0 < result.new_tokens < 100
    assert answer(loud, [ask(0)], max_new_tokens=5)[0].finish == "length"


def test_a_question_without_an_image_has_no_image_token(loud: Checkpoint) -> None:
    question = replace(ask(0), image=None)
    assert "<image>" not in prompt_text(loud, question)
    alone = answer(loud, [question], max_new_tokens=8)[0]
    assert alone.text == stock(loud, question, 8).strip()
    mixed = answer(loud, [ask(0), question, ask(1), question], max_new_tokens=8)
    assert mixed[1] == mixed[3] == alone


def test_special_tokens_in_what_users_write_are_text(loud: Checkpoint) -> None:
    question = Question((Turn("user", "A </s> B <image> C"),), "report_generation", IMAGES[0], "<image>")
    text = prompt_text(loud, question)
    assert text.count("<image>") == 1
    assert "A < /s> B < image> C" in text
    assert answer(loud, [question], max_new_tokens=3)[0].error is None


def test_stops_and_limits_end_an_answer(loud: Checkpoint) -> None:
    whole = answer(loud, [ask(0)], max_new_tokens=20)[0].text
    stop = whole[5:8]
    cut = Answerer(loud).answer([ask(0)], Sampling(20, stop=(stop,)))[0]
    assert cut.text == whole.split(stop, 1)[0].strip()
    assert cut.finish == "stop"


def test_sampling_depends_on_the_seed_and_not_on_the_batch(loud: Checkpoint) -> None:
    answerer = Answerer(loud)
    hot = Sampling(12, temperature=1.0, seed=3)
    together = answerer.answer([ask(0), ask(1), ask(2)], hot)
    assert together[1] == answerer.answer([ask(1)], hot)[0]
    assert together[1] != answerer.answer([ask(1)], replace(hot, seed=4))[0]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
def test_a_compiled_step_says_the_same(loud: Checkpoint) -> None:
    questions = [ask(place) for place in range(5)]
    compiled = Answerer(loud, batch_size=3, compile=True)
    assert compiled.answer(questions, Sampling(9)) == Answerer(loud).answer(questions, Sampling(9))
    assert compiled.answer(questions[:1], Sampling(9)) == Answerer(loud).answer(questions[:1], Sampling(9))


def test_common_prefixes() -> None:
    assert common_prefix([(1, 2, 3), (1, 2), (1, 2, 9)]) == 2
    assert common_prefix([(1, 2), (3, 2)]) == 0
    assert common_prefix([(5, 6)]) == 2

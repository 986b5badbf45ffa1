from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from radialog_instruct.records import Turn
from radialog_model.assemble import load_tokenizer
from radialog_model.checkpoint import Checkpoint
from radialog_model.data.encode import DialogEncoder
from radialog_model.generate import Question, prompt_text
from radialog_model.prompts import IMAGE_TOKEN

TURNS = (Turn("user", "Write."), Turn("assistant", "Clear."), Turn("user", "View?"), Turn("assistant", "PA"))


@pytest.fixture
def sentencepiece_like(tmp_path: Path) -> Path:
    """A tokenizer as transformers 5 rebuilds Vicuna's: a leading space at the start of the text only."""
    alphabet = sorted({*"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,:;?'-▁"})
    vocabulary = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *alphabet]
    model = models.BPE({token: n for n, token in enumerate(vocabulary)}, [], byte_fallback=True, unk_token="<unk>")
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    fast.save_pretrained(tmp_path)
    return tmp_path


class Processor:
    def __init__(self, tokenizer, template: str) -> None:
        self.tokenizer, self.chat_template = tokenizer, template


def test_training_reads_the_tokens_that_generation_will_read(sentencepiece_like: Path, chat_template: str) -> None:
    tokenizer = load_tokenizer(str(sentencepiece_like))
    processor = Processor(tokenizer, chat_template)
    encoded = DialogEncoder(processor, 2).dialog(TURNS, "view_classification", None)
    checkpoint = Checkpoint(_Named(), processor, None, (), "")
    prompt = prompt_text(checkpoint, Question(TURNS[:3], "view_classification", object(), None))
    read = tokenizer(prompt.replace(IMAGE_TOKEN, IMAGE_TOKEN * 2), add_special_tokens=False)["input_ids"]
    assert encoded.ids[: len(read)] == read
    tokens = tokenizer.convert_ids_to_tokens(encoded.ids)
    assert tokens[:2] == ["<s>", "▁"]
    turn = tokens.index("</s>")
    assert tokens[turn + 1 : turn + 6] == ["▁", "U", "S", "E", "R"]  # as the published weights were trained
    assert tokenizer.decode([token for token in encoded.labels if token >= 0]).strip() == "PA</s>"


class _Named:
    class config:  # noqa: N801
        model_type = "llava"


def test_a_tokenizer_without_a_first_token_writes_none(dataset: Path, chat_template: str) -> None:
    from radialog_model.processing import train_tokenizer

    tokenizer = train_tokenizer(["Clear lungs. Write. View? PA"] * 3, 300)
    tokenizer.bos_token = None
    processor = Processor(tokenizer, chat_template)
    prompt = prompt_text(
        Checkpoint(_Named(), processor, None, (), ""), Question(TURNS[:1], "report_generation", object(), None)
    )
    assert prompt.startswith("A chat between")
    assert tokenizer.decode(DialogEncoder(processor, 2).dialog(TURNS, "impression", None).ids).startswith(
        "A chat between"
    )


@pytest.fixture
def chat_template() -> str:
    from radialog_model.prompts import chat_template as published

    return published()

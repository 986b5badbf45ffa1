from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from radialog_instruct.errors import ModelError
from radialog_model.convert.tokenizer import llava_tokenizer
from tests.model.published import TEXTS, tokenizer_json

PIECES = ("A chat. USER: ", ". Predicted Findings: edema. ASSISTANT: The lungs are clear.", "USER: edema? ASSISTANT:")
PROMPT = f"<s>{PIECES[0]}<image>{PIECES[1]}</s>{PIECES[2]}"


def test_a_prompt_gets_the_token_ids_of_sentencepiece(tmp_path: Path) -> None:
    """The original code gives sentencepiece every piece between special tokens by itself."""
    sentencepiece = pytest.importorskip("sentencepiece")
    pytest.importorskip("google.protobuf")
    (tmp_path / "text.txt").write_text("\n".join(TEXTS * 20))
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "text.txt"),
        model_prefix=str(tmp_path / "tokenizer"),
        vocab_size=330,
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    published = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    first, second, third = (published.encode(piece) for piece in PIECES)
    tokenizer = llava_tokenizer(tmp_path)
    image = published.vocab_size()
    expected = [1, *first, image, *second, 2, *third]
    assert tokenizer.encode(PROMPT, add_special_tokens=False) == expected
    tokenizer.save_pretrained(tmp_path / "saved")
    again = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert again.encode(PROMPT, add_special_tokens=False) == expected
    assert again.decode(second, skip_special_tokens=True) == PIECES[1]


def test_the_turn_after_an_answer_begins_with_a_space_whatever_the_file_says(tmp_path: Path) -> None:
    parts = json.loads(tokenizer_json().to_str())
    parts["normalizer"] = None
    parts["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
    (tmp_path / "tokenizer.json").write_text(json.dumps(parts))
    tokenizer = llava_tokenizer(tmp_path)
    tokens = tokenizer.convert_ids_to_tokens(tokenizer.encode(PROMPT, add_special_tokens=False))
    assert tokens[tokens.index("</s>") + 1].startswith("▁")
    assert tokens[tokens.index("<image>") + 1].startswith("▁")
    assert tokenizer.pad_token == "<unk>"
    assert tokenizer.padding_side == "left"


def test_a_base_that_knows_the_image_token_keeps_its_id(tmp_path: Path) -> None:
    backend = tokenizer_json()
    backend.add_special_tokens(["<image>", "<pad>"])
    backend.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text('{"pad_token": "<pad>", "bos_token": {"content": "<s>"}}')
    tokenizer = llava_tokenizer(tmp_path)
    assert len(tokenizer) == backend.get_vocab_size()
    assert tokenizer.pad_token == "<pad>"


def test_no_tokenizer_and_a_broken_one_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"neither tokenizer\.json nor tokenizer\.model"):
        llava_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="cannot be read"):
        llava_tokenizer(tmp_path)

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional
from transformers import BertConfig, BertForMaskedLM, BertTokenizerFast

from radialog_instruct.errors import ModelError
from radialog_model import register
from radialog_model.align.bert import bert_shape, initialise_from_bert
from radialog_model.align.stage1 import AlignStage1Model
from radialog_model.align.text import bert_tokenizer, encode_reports, report_tokenizer
from tests.model.align.tiny import TEXTS, inputs, tiny_stage1


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "clear", "lungs", ",", "no", "effusion", "."]
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=40,
    )
    model = BertForMaskedLM(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(folder)
    BertTokenizerFast(vocab={word: number for number, word in enumerate(words)}).save_pretrained(folder)
    return folder


def test_the_loss_is_the_sum_of_three_and_reaches_every_weight() -> None:
    model = tiny_stage1(freeze_tower=False).train()
    output = model(**inputs(4))
    torch.testing.assert_close(output.loss, output.contrastive + output.matching + output.language)
    output.loss.backward()
    frozen = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert all("bn" in name or name.startswith("vision_tower.") for name in frozen)
    assert model.vision_tower.projection.weight.grad.abs().sum() > 0
    assert model.temperature.grad.abs() > 0


def test_a_frozen_tower_neither_learns_nor_drifts() -> None:
    model = tiny_stage1().train()
    before = {name: value.clone() for name, value in model.vision_tower.state_dict().items()}
    model(**inputs(4)).loss.backward()
    assert not model.vision_tower.training
    assert all(parameter.grad is None for parameter in model.vision_tower.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.vision_tower.state_dict().items())


def test_the_language_loss_is_that_of_each_next_token_padding_left_out() -> None:
    model, given = tiny_stage1(), inputs(3)
    patches = model.patches(given["pixel_values"])
    total, count = 0.0, 0
    for row in range(3):
        length = int(given["attention_mask"][row].sum())
        ids = torch.cat((given["decoder_start"][row : row + 1], given["input_ids"][row, 1:length]))[None]
        text = model.text_embeddings(ids)
        _, hidden = model.query_transformer.with_text(
            patches[row : row + 1], text, torch.ones_like(ids), "multimodal_causal"
        )
        logits = model.language_head(hidden, model.text_embeddings.words.weight)[0, :-1]
        total += functional.cross_entropy(logits, ids[0, 1:], label_smoothing=0.1, reduction="sum").item()
        count += length - 1
    assert model(**given).language.item() == pytest.approx(total / count, rel=1e-4)


def test_repeated_reports_are_no_negatives() -> None:
    model, given = tiny_stage1(), inputs(3)
    given["reports"] = torch.tensor([7, 7, 7])
    output = model(**given)
    patches = model.patches(given["pixel_values"])
    logits = model.matching_logits(patches, given["input_ids"], given["attention_mask"])
    expected = functional.cross_entropy(logits, torch.ones(3, dtype=torch.long))
    torch.testing.assert_close(output.matching, expected)


def test_it_is_saved_and_loaded_whole(tmp_path: Path) -> None:
    model = tiny_stage1(released_bugs=True, layers={"encoder_hidden_size": 48})
    model.save_pretrained(tmp_path)
    again = AlignStage1Model.from_pretrained(tmp_path)
    state = again.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert again.config.released_bugs
    assert not any(parameter.requires_grad for parameter in again.query_transformer.neck.parameters())


def test_bert_fills_all_but_what_it_has_not(bert: Path) -> None:
    tokenizer = bert_tokenizer(str(bert))
    assert tokenizer.bos_token == "[DEC]"
    layers = bert_shape(str(bert), vocab_size=len(tokenizer), encoder_hidden_size=32).to_dict()
    model = tiny_stage1(layers=layers)
    report = initialise_from_bert(model, str(bert))
    source = BertForMaskedLM.from_pretrained(bert).state_dict()
    mine = model.state_dict()
    second = "query_transformer.qformer.encoder.layer.1."
    for ours, theirs in {
        f"{second}attention.attention.key.weight": "bert.encoder.layer.1.attention.self.key.weight",
        f"{second}attention.output.LayerNorm.bias": "bert.encoder.layer.1.attention.output.LayerNorm.bias",
        f"{second}intermediate.dense.weight": "bert.encoder.layer.1.intermediate.dense.weight",
        f"{second}intermediate_query.dense.weight": "bert.encoder.layer.1.intermediate.dense.weight",
        f"{second}output_query.dense.bias": "bert.encoder.layer.1.output.dense.bias",
        "query_transformer.qformer.layernorm.weight": "bert.embeddings.LayerNorm.weight",
        "text_embeddings.positions.weight": "bert.embeddings.position_embeddings.weight",
        "language_head.norm.weight": "cls.predictions.transform.LayerNorm.weight",
    }.items():
        assert torch.equal(mine[ours], source[theirs]), ours
    assert torch.equal(mine["text_embeddings.words.weight"][:11], source["bert.embeddings.word_embeddings.weight"])
    assert "bert.embeddings.token_type_embeddings.weight" in report.unused
    kinds = ("crossattention", "projection", "matching_head", "queries", "temperature", "query_transformer.norm")
    assert all(any(kind in name for kind in kinds) for name in report.random)
    assert "not taken from BERT: bert.embeddings.token_type_embeddings.weight" in str(report)


def test_something_else_than_bert_is_refused(bert: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no tokenizer can be loaded"):
        bert_tokenizer(str(tmp_path))
    register()
    tiny_stage1().vision_tower.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="of the kind 'biovil_t'"):
        bert_shape(str(tmp_path))
    with pytest.raises(ModelError, match=r"text_embeddings.positions.weight is \[30, 32\], BERT's is \[40, 32\]"):
        initialise_from_bert(tiny_stage1(layers={"max_position_embeddings": 30}), str(bert))


def test_reports_begin_and_end_with_marks_and_are_cut(bert: Path) -> None:
    for tokenizer in (report_tokenizer(TEXTS, 320), bert_tokenizer(str(bert))):
        batch = encode_reports(tokenizer, TEXTS, 8)
        assert batch.ids.shape == batch.mask.shape == (3, 8)
        assert (batch.ids[:, 0] == tokenizer.cls_token_id).all()
        last = batch.mask.sum(1) - 1
        assert (batch.ids[torch.arange(3), last] == tokenizer.sep_token_id).all()
        assert (batch.ids[batch.mask == 0] == tokenizer.pad_token_id).all()
        marks = {tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id}
        assert len(marks) == 4

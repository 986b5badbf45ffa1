from __future__ import annotations

import pytest
import torch
from transformers import Blip2QFormerConfig

from radialog_model.qformer import QueryTransformer, ReleasedNeck, attention_mask
from tests.model.align.tiny import LAYERS, scramble


def query_transformer(**changes: object) -> QueryTransformer:
    torch.manual_seed(0)
    config = Blip2QFormerConfig(**{**LAYERS, "use_qformer_text_input": True, **changes})
    made = QueryTransformer(config, num_queries=5, patch_width=32)
    scramble(made)
    return made.eval()


@pytest.fixture(scope="module")
def made() -> QueryTransformer:
    return query_transformer()


def parts(batch: int = 2, tokens: int = 6):
    generator = torch.Generator().manual_seed(3)
    patches = torch.randn(batch, 4, 32, generator=generator)
    return patches, torch.randn(batch, tokens, 32, generator=generator), torch.ones(batch, tokens, dtype=torch.long)


@pytest.mark.parametrize(
    ("kind", "rows"),
    [
        ("unimodal", ["11000", "11000", "00110", "00110", "00110"]),
        ("bidirectional", ["11110", "11110", "11110", "11110", "11110"]),
        ("multimodal_causal", ["11000", "11000", "11100", "11110", "11110"]),
    ],
)
def test_two_queries_and_three_tokens_the_last_of_them_padding(kind: str, rows: list[str]) -> None:
    mask = attention_mask(kind, 2, torch.tensor([[1, 1, 0]]), torch.float32)
    assert mask.shape == (1, 1, 5, 5)
    assert ["".join(str(int(value == 0)) for value in row) for row in mask[0, 0]] == rows


def test_the_unimodal_mask_is_queries_and_text_each_by_themselves(made: QueryTransformer) -> None:
    patches, text, mask = parts()
    queries, written = made.with_text(patches, text, mask, "unimodal")
    torch.testing.assert_close(queries, made(patches))
    torch.testing.assert_close(written, made.text_alone(text, mask))


def test_under_the_causal_mask_queries_see_no_text_and_tokens_no_later_ones(made: QueryTransformer) -> None:
    patches, text, mask = parts()
    queries, written = made.with_text(patches, text, mask, "multimodal_causal")
    torch.testing.assert_close(queries, made(patches))
    changed = text.clone()
    changed[:, 3:] = changed[:, 3:].roll(1, -1)
    _, again = made.with_text(patches, changed, mask, "multimodal_causal")
    torch.testing.assert_close(written[:, :3], again[:, :3])
    assert (written[:, 3:] - again[:, 3:]).abs().amax(-1).min() > 1e-3
    _, other = made.with_text(patches.roll(1, -1), text, mask, "multimodal_causal")
    assert (other - written).abs().max() > 1e-3


def test_in_both_directions_the_queries_see_the_text_but_not_its_padding(made: QueryTransformer) -> None:
    patches, text, mask = parts()
    mask[1, 4:] = 0
    queries, _ = made.with_text(patches, text, mask, "bidirectional")
    text[1, 4:] = text[1, 4:].roll(1, -1)
    again, _ = made.with_text(patches, text, mask, "bidirectional")
    torch.testing.assert_close(queries, again)
    alone, _ = made.with_text(patches[1:], text[1:, :4], mask[1:, :4], "bidirectional")
    torch.testing.assert_close(queries[1:], alone)
    text[1, 0] = text[1, 0].roll(1)
    assert (made.with_text(patches, text, mask, "bidirectional")[0][1] - queries[1]).abs().max() > 1e-3


def test_every_second_layer_reads_the_image_and_queries_have_a_network_of_their_own(made: QueryTransformer) -> None:
    layers = made.qformer.encoder.layer
    assert [hasattr(layer, "crossattention") for layer in layers] == [True, False, True]
    assert all(hasattr(layer, "intermediate_query") and hasattr(layer, "intermediate") for layer in layers)


def test_the_released_reshape_makes_a_token_of_eight_channels_at_all_positions() -> None:
    neck = ReleasedNeck(1408, 1408)
    with torch.no_grad():
        for conv in (neck.first, neck.second):
            conv.weight.copy_(torch.eye(1408)[:, :, None, None])
        neck.second.bias.zero_()
    channels = torch.arange(1.0, 1409).expand(1, 196, 1408)  # each value is its channel's number
    token = neck(channels)[0, 0].round().unique()
    assert token.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert len(channels[0, 0].unique()) == 1408


def test_the_released_projector_is_random_and_never_learns() -> None:
    config = Blip2QFormerConfig(**{**LAYERS, "encoder_hidden_size": 48})
    made = QueryTransformer(config, num_queries=5, patch_width=32, released_bugs=True).train()
    assert made(torch.randn(2, 4, 32)).shape == (2, 5, 32)
    assert made.neck.first.weight.std() > 0
    assert not any(parameter.requires_grad for parameter in made.neck.parameters())
    assert not made.neck.bn.training
    assert made.training


def test_widths_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="encoder_hidden_size is 48, but the tower gives patches of 32"):
        QueryTransformer(Blip2QFormerConfig(**{**LAYERS, "encoder_hidden_size": 48}), num_queries=5, patch_width=32)


def test_a_larger_table_behind_the_queries_changes_nothing(made: QueryTransformer) -> None:
    patches, *_ = parts()
    padded = query_transformer()
    padded.load_state_dict(made.state_dict())
    table = torch.nn.Embedding(64, 32)
    table.weight.data[:5] = made.queries.weight.data
    table.num_embeddings = 5
    padded.queries = table
    torch.testing.assert_close(padded(patches), made(patches))

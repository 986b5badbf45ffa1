"""A first stage of a few thousand weights, and inputs for it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from radialog_model.align.configuration import AlignStage1Config
from radialog_model.align.stage1 import AlignStage1Model
from radialog_model.processing import train_tokenizer

TOWER = {
    "depths": (1, 1, 1, 1),
    "widths": (8, 16, 24, 32),
    "stem_width": 8,
    "projection_dim": 16,
    "hidden_size": 32,
    "image_size": 64,
}
LAYERS = {
    "vocab_size": 100,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
    "encoder_hidden_size": 32,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
TEXTS = ("Clear lungs, no effusion.", "Mild cardiomegaly; small left pleural effusion is seen.", "Pneumothorax.")


def tiny_stage1(*, layers: dict[str, object] | None = None, **changes: object) -> AlignStage1Model:
    """Return a model whose weights and BatchNorm statistics are far from their defaults, so that none goes unnoticed."""
    torch.manual_seed(0)
    settings = {"num_query_tokens": 5, "projection_dim": 12, "max_text_length": 20, **changes}
    model = AlignStage1Model(
        AlignStage1Config(vision_config=dict(TOWER), qformer_config=LAYERS | (layers or {}), **settings)
    )
    scramble(model)
    return model.eval()


@torch.no_grad()
def scramble(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            module.weight.normal_(0, 0.15)
        elif isinstance(module, nn.LayerNorm):
            module.bias.normal_(0, 0.1)
        elif isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.3, 0.3)
            module.running_var.uniform_(0.5, 2)


def inputs(batch: int, *, seed: int = 1, length: int = 9) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(4, length + 1, (batch,), generator=generator)
    mask = (torch.arange(length)[None] < lengths[:, None]).long()
    return {
        "pixel_values": torch.rand(batch, 3, 64, 64, generator=generator),
        "input_ids": torch.randint(4, 100, (batch, length), generator=generator) * mask,
        "attention_mask": mask,
        "decoder_start": torch.full((batch,), 3),
        "reports": torch.arange(batch),
    }


def llm_tokenizer():
    return train_tokenizer(TEXTS, 320)

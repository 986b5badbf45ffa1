"""The levers of speed change nothing: losses and gradients are those of the plain way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from radialog_model.data.batches import MicroBatches
from radialog_model.data.plan import MicroBatch, Plan
from radialog_model.lora import add_lora
from radialog_model.training.features import FeatureStore, features_instead_of_pixels
from radialog_model.training.job import Job
from radialog_model.training.trainer import part_of, supervised_loss

ROWS = (0, 1, 2)


def batch(job: Job, rows: tuple[int, ...], *, packed: bool = False, pixels=None):
    plan = Plan((MicroBatch(0, rows),), (1,), (), 1.0)
    made = MicroBatches(job.train, plan, job.encoder(), pixels or job.images.batch, pad=0, packed=packed, seed=0)
    return made[0]


def gradients(job: Job, batches, *, supervised_logits: bool = True) -> dict[str, torch.Tensor]:
    model = job.model.train()
    model.zero_grad()
    n = sum(int((b["labels"] != -100).sum()) for b in batches)
    total = 0.0
    for one in batches:
        loss, _ = supervised_loss(model, one, n, supervised_logits=supervised_logits)
        loss.backward()
        total += float(loss.detach())
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return found | {"loss": torch.tensor(total)}


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor], tolerance: float = 1e-5) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=2e-4, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}")


@pytest.fixture(autouse=True)
def frozen_batchnorm(job: Job) -> None:
    """A live BatchNorm sees who shares a micro-batch, so single rows and batches differ by design."""
    job.model.model.vision_tower.config.freeze_batchnorm = True


@pytest.fixture
def plain(job: Job) -> dict[str, torch.Tensor]:
    return gradients(job, [batch(job, (row,)) for row in ROWS])


def test_padded_rows_learn_like_single_ones(job: Job, plain) -> None:
    assert len({len(batch(job, (row,))["input_ids"][0]) for row in ROWS}) > 1
    assert_same(gradients(job, [batch(job, ROWS)]), plain)


def test_packed_rows_learn_like_single_ones(job: Job, plain) -> None:
    assert_same(gradients(job, [batch(job, ROWS, packed=True)]), plain)


def test_packing_with_a_cache_would_be_wrong_which_is_why_there_is_none(job: Job) -> None:
    one = batch(job, ROWS, packed=True)
    inputs = {name: value for name, value in one.items() if name != "labels"}
    job.model.eval()
    with torch.no_grad():
        apart = job.model(**inputs, use_cache=False).logits
        together = job.model(**inputs, use_cache=True).logits
    alone = job.model(**{k: v for k, v in batch(job, (ROWS[1],)).items() if k != "labels"}, use_cache=False).logits
    start = int((one["position_ids"][0] == 0).nonzero()[1])
    torch.testing.assert_close(apart[0, start : start + alone.shape[1]], alone[0], rtol=1e-4, atol=1e-4)
    assert float((together - apart).abs().max()) > 0.1


def test_all_logits_teach_the_same_as_the_supervised_ones(job: Job, plain) -> None:
    assert_same(gradients(job, [batch(job, ROWS)], supervised_logits=False), plain)


def test_features_of_a_frozen_tower_teach_the_same_as_its_pixels(job: Job, tmp_path: Path) -> None:
    job.model.model.vision_tower.requires_grad_(False)
    plain = gradients(job, [batch(job, ROWS)])
    store = FeatureStore(job.model, job.images, tmp_path)
    store.fill(job.train.images()[:3], print)
    store.fill(job.train.images()[:3], print)
    with features_instead_of_pixels(job.model):
        cached = gradients(job, [batch(job, ROWS, pixels=store.batch)])
    assert_same(cached, plain, 1e-7)
    assert job.model.model.vision_tower.config.model_type == "biovil_t"


def test_each_part_has_its_learning_rate_and_frozen_parts_none(job: Job, base_llm: Path) -> None:
    from radialog_model.config import Lora

    wrapped = add_lora(job.model, Lora(r=2), train=("llm", "projector"), base_model=str(base_llm), quantized=False)
    learning = {part_of(name) for name, p in wrapped.named_parameters() if p.requires_grad}
    assert learning == {"llm", "projector"}
    assert all("lora" in n for n, p in wrapped.named_parameters() if p.requires_grad and part_of(n) == "llm")


def test_the_head_of_a_language_model_that_does_not_learn_does_not_either(job: Job) -> None:
    from radialog_model.training.dialog import _prepare_model

    stage = job.config.dialog.model_copy(update={"lora": None, "train": ("projector",)})
    frozen = replace(job, config=job.config.model_copy(update={"dialog": stage}))
    model = _prepare_model(frozen)
    assert {part_of(name) for name, p in model.named_parameters() if p.requires_grad} == {"projector"}

"""First stage of training from scratch: the tower learns findings and view from labels alone.

A LLaVA trained end to end from scratch on a few hundred images writes one normal report for all of them: the language
model needs image features that already mean something. BatchNorm is live here and frozen afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from radialog_instruct.findings import FINDINGS, POSITIVE
from radialog_instruct.tasks.view_classification import VIEW_ANSWERS
from radialog_model.biovil import BioViLTModel
from radialog_model.data.images import ImageStore
from radialog_model.data.rows import Row
from radialog_model.findings import FindingsHead, tune_thresholds

VIEWS = tuple(view.value for view in VIEW_ANSWERS)
Log = Callable[[str], None]


@dataclass(frozen=True)
class TowerData:
    """Images of a split with their targets.

    Attributes:
        paths: One path an image.
        findings: [n, 14] of zeros and ones.
        views: [n] index into ``VIEWS``; -1 where the view is none of them.
    """

    paths: tuple[str, ...]
    findings: Tensor
    views: Tensor


def tower_data(rows: Sequence[Row]) -> TowerData:
    """Collect each image of the rows once."""
    by_path = {row.image: row for row in rows if row.labels is not None}
    findings = [[int(value == POSITIVE) for value in row.labels or ()] for row in by_path.values()]
    views = [VIEWS.index(row.view) if row.view in VIEWS else -1 for row in by_path.values()]
    return TowerData(tuple(by_path), torch.tensor(findings).float(), torch.tensor(views))


def train_tower(
    tower: BioViLTModel,
    images: ImageStore,
    train: TowerData,
    validation: TowerData,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    log: Log,
) -> FindingsHead:
    """Train the tower, keep its best epoch by validation, and return the findings head with tuned thresholds.

    Args:
        tower: Trained in place, its BatchNorm frozen afterwards.
        images: The images.
        train: Training images; views are drawn with balanced frequency.
        validation: Validation images.
        epochs: Passes over the training images.
        batch_size: Images a step.
        learning_rate: Peak of the one-cycle schedule.
        seed: Seed of sampling and augmentation.
        log: Told about each epoch.
    """
    generator = torch.Generator().manual_seed(seed)
    head, view_head = FindingsHead(tower.config.projection_dim), nn.Linear(tower.config.projection_dim, len(VIEWS))
    parameters = [*tower.parameters(), *head.parameters(), *view_head.parameters()]
    optimizer = torch.optim.AdamW(parameters, learning_rate, weight_decay=0.05)
    steps = max(len(train.paths) // batch_size, 1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, epochs * steps)
    positives = train.findings.sum(0).clamp(min=1)
    pos_weight = torch.log(len(train.paths) / positives).clamp(min=1)  # the paper's log(N / count)
    weights = balanced_weights(train.views)
    best, best_state = -math.inf, None
    for epoch in range(epochs):
        tower.train()
        order = torch.multinomial(weights, steps * batch_size, replacement=True, generator=generator)
        for chosen in order.split(batch_size):
            pixels = augment(images.batch([train.paths[i] for i in chosen.tolist()]), generator)
            features = tower.patch_features(pixels)
            loss = F.binary_cross_entropy_with_logits(head(features), train.findings[chosen], pos_weight=pos_weight)
            known = train.views[chosen] >= 0
            if known.any():
                pooled = F.dropout(features.mean((2, 3))[known], 0.3)
                loss = loss + F.cross_entropy(view_head(pooled), train.views[chosen][known], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        score, parts = validate(tower, head, view_head, images, validation)
        log(f"tower epoch {epoch + 1}/{epochs}: loss {loss.item():.3f}, validation {parts}")
        if score >= best:
            best = score
            modules = (tower, head)
            best_state = [{name: value.clone() for name, value in m.state_dict().items()} for m in modules]
    assert best_state is not None
    tower.load_state_dict(best_state[0])
    head.load_state_dict(best_state[1])
    tower.config.freeze_batchnorm = True
    tower.eval()  # type: ignore[no-untyped-call]
    probabilities = torch.sigmoid(predict(tower, images, validation.paths, head))
    head.thresholds.copy_(tune_thresholds(probabilities, validation.findings))
    return head.eval()


def balanced_weights(views: Tensor) -> Tensor:
    """Return sampling weights that give each known view the same share; [n]."""
    counts = torch.bincount(views.clamp(min=0), minlength=len(VIEWS)).clamp(min=1).float()
    return torch.where(views >= 0, 1 / counts[views.clamp(min=0)], 1 / max(len(views), 1))


@torch.no_grad()
def predict(tower: BioViLTModel, images: ImageStore, paths: Sequence[str], head: nn.Module) -> Tensor:
    """Return a head's logits for images; [n, classes]."""
    batches = [paths[i : i + 64] for i in range(0, len(paths), 64)]
    pooled = [tower.patch_features(images.batch(batch)) for batch in batches]
    return torch.cat([head(p) if isinstance(head, FindingsHead) else head(p.mean((2, 3))) for p in pooled])


def validate(
    tower: BioViLTModel, head: FindingsHead, view_head: nn.Linear, images: ImageStore, data: TowerData
) -> tuple[float, str]:
    """Return the sum of balanced view accuracy and mean AUROC of the findings, and both as text."""
    tower.eval()  # type: ignore[no-untyped-call]
    accuracy = balanced_accuracy(predict(tower, images, data.paths, view_head).argmax(1), data.views)
    auroc = mean_auroc(predict(tower, images, data.paths, head), data.findings)
    return accuracy + auroc, f"balanced view accuracy {accuracy:.3f}, mean AUROC {auroc:.3f}"


def balanced_accuracy(predicted: Tensor, views: Tensor) -> float:
    """Return the mean recall of the views that occur; 0 where none does."""
    recalls = [(predicted[views == v] == v).float().mean() for v in range(len(VIEWS)) if (views == v).any()]
    return float(torch.stack(recalls).mean()) if recalls else 0.0


def mean_auroc(logits: Tensor, targets: Tensor) -> float:
    """Return the mean AUROC over classes that have positives and negatives; 0.5 where none has.

    Args:
        logits: [n, 14].
        targets: [n, 14] of zeros and ones.
    """
    areas = []
    for index in range(len(FINDINGS)):
        positive = targets[:, index] == 1
        if positive.any() and not positive.all():
            above = logits[positive, index][:, None] - logits[~positive, index][None, :]
            areas.append(((above > 0).float() + 0.5 * (above == 0).float()).mean())
    return float(torch.stack(areas).mean()) if areas else 0.5


def augment(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Rotate, scale, shift and re-window images; never flip them, because sides matter.

    Args:
        pixels: [n, 3, size, size] in 0..1, three equal channels.
        generator: Source of randomness.
    """
    n = len(pixels)

    def between(low: float, high: float) -> Tensor:
        return torch.rand(n, generator=generator) * (high - low) + low

    angle, scale, shift_x, shift_y = between(-0.17, 0.17), between(0.78, 1.06), between(-0.1, 0.1), between(-0.1, 0.1)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    theta = torch.stack((torch.stack((cos, -sin, shift_x), 1), torch.stack((sin, cos, shift_y), 1)), 1)
    grid = F.affine_grid(theta, [n, 1, *pixels.shape[2:]], align_corners=False)
    grey = F.grid_sample(pixels[:, :1], grid, align_corners=False).clamp(1e-4, 1)
    grey = grey ** torch.exp(between(-0.4, 0.4)).view(n, 1, 1, 1)
    contrast, brightness = between(0.8, 1.2).view(n, 1, 1, 1), between(-0.1, 0.1).view(n, 1, 1, 1)
    return ((grey - 0.5) * contrast + 0.5 + brightness).clamp(0, 1).expand(-1, 3, -1, -1)

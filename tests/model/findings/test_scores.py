from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, precision_recall_fscore_support, roc_auc_score

from radialog_instruct.findings import FINDINGS, FIVE_FINDINGS
from radialog_model.findings.data import pos_weight
from radialog_model.findings.scores import auroc, score_findings
from radialog_model.findings.thresholds import tune_thresholds


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_those_of_scikit_learn(seed: int) -> None:
    random = np.random.default_rng(seed)
    targets = random.random((40, 14)) < 0.3
    probabilities = np.round(random.random((40, 14)), 1)  # with ties
    predicted = probabilities >= 0.6
    targets[:, 3] = predicted[:, 3] = False  # neither support nor predictions
    targets[:, 4] = False  # no support
    predicted[:, 5] = False  # no predictions
    scores = score_findings(targets, predicted, probabilities)
    assert scores.macro_f1 == pytest.approx(f1_score(targets, predicted, average="macro", zero_division=0), abs=1e-12)
    assert scores.micro_f1 == pytest.approx(f1_score(targets, predicted, average="micro", zero_division=0), abs=1e-12)
    five = [FINDINGS.index(name) for name in FIVE_FINDINGS]
    assert scores.macro_f1_five == pytest.approx(
        f1_score(targets[:, five], predicted[:, five], average="macro", zero_division=0)
    )
    rows = zip(*precision_recall_fscore_support(targets, predicted, zero_division=0), strict=True)
    for (name, one), (precision, recall, f1, support) in zip(scores.classes.items(), rows, strict=True):
        assert (one.precision, one.recall, one.f1) == pytest.approx((precision, recall, f1)), name
        assert one.support == support
    for index, name in enumerate(FINDINGS):
        area = scores.classes[name].auroc
        if index in (3, 4):
            assert area is None
        else:
            assert area == pytest.approx(roc_auc_score(targets[:, index], probabilities[:, index]))


def test_worked_numbers() -> None:
    targets, predicted = np.zeros((4, 14)), np.zeros((4, 14))
    targets[:2, 5], predicted[1:3, 5] = 1, 1  # one hit, one miss, one false alarm
    scores = score_findings(targets, predicted)
    assert scores.classes["Edema"].f1 == 0.5
    assert scores.macro_f1 == pytest.approx(0.5 / 14)
    assert scores.macro_f1_supported == 0.5
    assert scores.macro_f1_five == pytest.approx(0.1)
    assert scores.classes["Edema"].auroc is None
    assert auroc(np.array([True, False, True, False]), np.array([3.0, 2, 1, 0])) == 0.75
    with pytest.raises(ValueError, match="cannot score"):
        score_findings(targets[:0], predicted[:0])


def test_the_weight_of_positives_is_the_logarithm_of_their_rarity() -> None:
    targets = torch.zeros(100, 14)
    targets[:10, 0] = 1
    targets[:50, 1] = 1
    targets[:, 2] = 1
    weights = pos_weight(targets)
    assert weights[:3].tolist() == pytest.approx([math.log(10), math.log(2), 0.0], abs=1e-6)
    assert weights[3:].tolist() == [1.0] * 11


def test_tuning_beats_one_half_on_what_it_saw() -> None:
    generator = torch.Generator().manual_seed(1)
    targets = (torch.rand(200, 14, generator=generator) < 0.2).float()
    probabilities = (0.25 * targets + 0.3 * torch.rand(200, 14, generator=generator)).clamp(0, 1)
    thresholds = tune_thresholds(probabilities, targets)
    half = score_findings(targets.numpy(), (probabilities >= 0.5).numpy())
    tuned = score_findings(targets.numpy(), (probabilities >= thresholds).numpy())
    assert tuned.macro_f1 > half.macro_f1 + 0.2

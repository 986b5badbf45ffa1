from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from radialog_model.align.losses import draw_negatives, similarity, soft_cross_entropy
from radialog_model.align.retrieval import recall


def test_an_image_is_as_near_a_text_as_its_nearest_query() -> None:
    images = torch.tensor([[[1.0, 0], [0, 1]], [[0.6, 0.8], [-1, 0]]])
    texts = torch.tensor([[0.0, 1], [1, 0], [-1, 0]])
    assert similarity(images, texts).tolist() == [[1, 1, 0], [pytest.approx(0.8), pytest.approx(0.6), 1]]


def test_without_repeated_reports_it_is_the_smoothed_cross_entropy() -> None:
    logits = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    same = torch.eye(6, dtype=torch.bool)[1:5]
    expected = functional.cross_entropy(logits, torch.arange(1, 5), label_smoothing=0.1)
    torch.testing.assert_close(soft_cross_entropy(logits, same, 0.1), expected)


def test_two_images_of_one_report_share_the_target() -> None:
    logits = torch.tensor([[2.0, 2.0, -9.0]])
    loss = soft_cross_entropy(logits, torch.tensor([[True, True, False]]), 0.0)
    assert float(loss) == pytest.approx(0.6931, abs=1e-4)


def test_negatives_are_drawn_by_similarity_and_never_from_the_same_report() -> None:
    scores = torch.tensor([[9.0, 1.0, 3.0, 0.0]] * 4000)
    same = torch.tensor([[True, False, False, True]] * 4000)
    chosen, there = draw_negatives(scores, same, 5)
    counts = torch.bincount(chosen, minlength=4) / 4000
    assert there.all()
    assert counts[0] == counts[3] == 0
    near, far = scores.softmax(1)[0, 2] + 1e-4, scores.softmax(1)[0, 1] + 1e-4
    assert float(counts[2]) == pytest.approx(float(near / (near + far)), abs=0.03)
    assert torch.equal(chosen, draw_negatives(scores, same, 5)[0])
    assert not torch.equal(chosen, draw_negatives(scores, same, 6)[0])
    assert draw_negatives(scores[:1], same[:1], None)[0].tolist() == [2]


def test_a_row_without_a_negative_says_so() -> None:
    _, there = draw_negatives(torch.zeros(2, 2), torch.tensor([[True, True], [True, False]]), 0)
    assert there.tolist() == [False, True]


def test_recall_on_worked_numbers() -> None:
    scores = torch.tensor([[3.0, 2, 1], [3, 2, 1], [3, 2, 1]])
    same = torch.eye(3, dtype=torch.bool)
    assert recall(scores, same, 1) == pytest.approx(1 / 3)
    assert recall(scores, same, 2) == pytest.approx(2 / 3)
    assert recall(scores, same, 10) == 1

"""Instance matching: the order in which a model names the instances of a finding is not an error."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import permutations

import numpy as np

from radialog_bench.metrics.base import Floats
from radialog_bench.metrics.rad_restruct.layout import YES, Finding, Layout


def match_instances(predictions: Floats, targets: Floats, layout: Layout) -> Floats:
    """Put the predicted instances of every finding where they fit the reference best.

    For each report and finding, the instances that were predicted and those that are there are paired one to one, so
    that the macro F1 over the paired columns is highest; of equal pairings the first in order is taken. What is left
    over follows at the free places, the negative instances last.

    Args:
        predictions: [n, layout.size] of 0 and 1, complete.
        targets: [n, layout.size], the references.
        layout: Their layout.

    Returns:
        [n, layout.size]: the predictions with their instances in the new order.
    """
    matched = predictions.copy()
    for finding in layout.findings:
        if len(finding.instances) < 2:
            continue
        yes = [instance.question.column(YES) for instance in finding.instances]
        predicted, there = predictions[:, yes] == 1, targets[:, yes] == 1
        for row in np.flatnonzero(predicted.any(axis=1) & there.any(axis=1)):
            order = _order(predictions[row], targets[row], finding, predicted[row], there[row])
            for instance, source in zip(finding.instances, order, strict=True):
                matched[row, instance.columns] = predictions[row, finding.instances[source].columns]
    return matched


def _order(prediction: Floats, target: Floats, finding: Finding, predicted: Floats, there: Floats) -> list[int]:
    """Return for each place of a finding which predicted instance goes there."""
    guesses, truths = np.flatnonzero(predicted).tolist(), np.flatnonzero(there).tolist()
    guessed = {place: prediction[finding.instances[place].columns] for place in guesses}
    true = {place: target[finding.instances[place].columns] for place in truths}
    if len(truths) > len(guesses):
        pairings = [tuple(zip(chosen, guesses, strict=True)) for chosen in permutations(truths, len(guesses))]
    else:
        pairings = [tuple(zip(truths, chosen, strict=True)) for chosen in permutations(guesses, len(truths))]

    def fit(pairing: Iterable[tuple[int, int]]) -> float:
        there, named = zip(*pairing, strict=True)
        return _macro_f1(np.concatenate([guessed[g] for g in named]), np.concatenate([true[t] for t in there]))

    best = dict(max(pairings, key=fit))
    used = set(best.values())
    rest = [guess for guess in guesses if guess not in used]
    rest += [place for place in range(len(finding.instances)) if place not in guesses]
    return [best[place] if place in best else rest.pop(0) for place in range(len(finding.instances))]


def _macro_f1(prediction: Floats, target: Floats) -> float:
    """Return the mean F1 of ones and zeros; both occur in every instance."""
    both = float((prediction * target).sum())
    ones = 2 * both / float(prediction.sum() + target.sum())
    wrong = float(np.abs(prediction - target).sum())
    neither = len(target) - both - wrong
    return (ones + 2 * neither / (2 * neither + wrong)) / 2

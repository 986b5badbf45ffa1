"""BLEU-1 to 4 and ROUGE-L: this project against pycocoevalcap, on the same tokens, in the same run.

python benchmarks/lexical_metrics.py ../shared/data/iu_xray benchmarks/results/lexical_metrics.json
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from machine import describe
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.rouge.rouge import Rouge

from radialog_bench.metrics import lexical
from radialog_bench.metrics.tokens import protocol_tokens
from radialog_instruct.sources import open_source

REPEATS = 3


def best(action: Callable[[], list[float]]) -> tuple[float, list[float]]:
    """Return the shortest time of a few runs and the result."""
    times, result = [], []
    for _ in range(REPEATS):
        start = time.perf_counter()
        result = action()
        times.append(time.perf_counter() - start)
    return min(times), result


def main(root: Path, output: Path) -> None:
    """Measure and write the result."""
    studies = open_source("iu-xray", root).studies()
    references = [study.sections.findings for study in studies if study.sections.findings]
    predictions = [*references[7:], *references[:7]]
    for text in references:
        lexical._tokens(text)  # tokenizing is common to both sides and left out

    def ours() -> list[float]:
        lexical._bleu_statistics.cache_clear()
        metrics = lexical.lexical_metrics()
        return [float(m.value(m.statistics(predictions, references).sum(0))) for m in metrics]

    joined = {text: " ".join(protocol_tokens(text)) for text in references}
    truths = {i: [joined[text]] for i, text in enumerate(references)}
    guesses = {i: [joined[text]] for i, text in enumerate(predictions)}

    def theirs() -> list[float]:
        bleu = Bleu(4).compute_score(truths, guesses, verbose=0)[0]
        return [*bleu, float(Rouge().compute_score(truths, guesses)[0])]

    (our_time, our_scores), (their_time, their_scores) = best(ours), best(theirs)
    difference = max(abs(a - b) for a, b in zip(our_scores, their_scores, strict=True))
    result = {
        "pairs": len(references),
        "seconds_ours": round(our_time, 4),
        "seconds_pycocoevalcap": round(their_time, 4),
        "ratio": round(their_time / our_time, 2),
        "largest_difference": difference,
        "machine": describe(),
    }
    output.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))

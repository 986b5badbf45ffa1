"""The rule labeler's context rules against clinical NLP libraries', with the same mentions, on the held-out half.

python benchmarks/context_libraries.py SHARED_DATA benchmarks/results/context_libraries.json
                                       [--negspacy PYTHON] [--medspacy PYTHON] [--reports 600]

Each library runs in an environment of its own, given by its interpreter:
  pip install "spacy>=3.8,<3.9" negspacy          pip install medspacy "numpy<2"
The mentions are this project's patterns; what differs is who decides whether a mention is denied or doubted. A class
counts as found when a mention of it is neither. The time of a library is that of its pipeline alone.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import describe
from rule_labeler import GOLD_CLASSES, IN_MICRO, is_develop, read_gold, row

from radialog_instruct.labeling import rules
from radialog_instruct.sources import open_source

LIBRARY_SIDE = """
import json, sys, time
import spacy
library, place = sys.argv[1:]
documents = json.loads(open(place).read())
if library == "negspacy":
    import negspacy.negation
    nlp = spacy.blank("en"); nlp.add_pipe("sentencizer")
    labels = sorted({name for _, mentions in documents for _, _, name in mentions})
    context = nlp.add_pipe("negex", config={"ent_types": labels})
    denied = lambda ent: ent._.negex
else:
    import medspacy
    nlp = medspacy.load(medspacy_enable=["medspacy_tokenizer", "medspacy_pyrush", "medspacy_context"])
    denied = lambda ent: ent._.is_negated or ent._.is_uncertain or ent._.is_hypothetical or ent._.is_historical
steps = [step for _, step in nlp.pipeline]
out, spent = [], 0.0
for text, mentions in documents:
    start = time.perf_counter()
    doc = nlp.make_doc(text)
    spans = [doc.char_span(a, b, label=name, alignment_mode="expand") for a, b, name in mentions]
    doc.ents = spacy.util.filter_spans([span for span in spans if span is not None])
    for step in steps:
        doc = step(doc)
    spent += time.perf_counter() - start
    out.append(sorted({ent.label_ for ent in doc.ents if not denied(ent)}))
print(json.dumps({"found": out, "seconds": spent}))
"""


def mentions_of(text: str) -> list[tuple[int, int, str]]:
    """Return the mentions of the compared classes by this project's patterns."""
    lowered = text.lower()
    found: list[tuple[int, int, str]] = []
    for name in IN_MICRO:
        excluded = rules._NOT_MENTIONS.get(name)
        ignored = [match.span() for match in excluded.finditer(lowered)] if excluded else []
        found += [
            (match.start(), match.end(), name)
            for match in rules._MENTIONS[name].finditer(lowered)
            if not any(start < match.end() and match.start() < end for start, end in ignored)
        ]
    return found


def f1(found: dict[str, set[str]], gold: dict[str, frozenset[str]]) -> dict[str, float]:
    """Return micro precision, recall and F1 over the classes but No Finding."""
    tp = fp = fn = 0
    for study, said in found.items():
        true = set(gold[study]) & set(IN_MICRO)
        tp, fp, fn = tp + len(said & true), fp + len(said - true), fn + len(true - said)
    return row(tp, fp, fn)


def main(shared: Path, output: Path, libraries: dict[str, Path], n: int) -> None:
    """Measure and write the result."""
    gold = read_gold(shared / "gold" / "negbio_openi" / "openi_gld_std14.csv")
    texts = {
        study.study_id: " ".join(f"{study.sections.findings or ''} {study.sections.impression or ''}".split())
        for study in open_source("iu-xray", shared / "iu_xray").studies()
        if study.study_id in gold and not is_develop(study.study_id)
    }
    texts = dict(list(texts.items())[:n])
    start = time.perf_counter()
    ours = {study: rules.label(text, cache=False) for study, text in texts.items()}
    seconds = time.perf_counter() - start
    said = {s: {c for c in IN_MICRO if labels[rules.FINDINGS.index(c)] == 1} for s, labels in ours.items()}
    result: dict[str, Any] = {
        "machine": describe(),
        "reports": len(texts),
        "classes": len(GOLD_CLASSES) - 1,
        "ours": {**f1(said, gold), "reports_per_second": round(len(texts) / seconds)},
    }
    documents = [(text, mentions_of(text)) for text in texts.values()]
    for library, python in libraries.items():
        with tempfile.NamedTemporaryFile("w", suffix=".json") as handle:
            json.dump(documents, handle)
            handle.flush()
            command = [str(python), "-c", LIBRARY_SIDE, library, handle.name]
            printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        answer = json.loads(printed.splitlines()[-1])
        found = {study: set(names) for study, names in zip(texts, answer["found"], strict=True)}
        result[library] = {**f1(found, gold), "reports_per_second": round(len(texts) / answer["seconds"])}
        print(library, json.dumps(result[library]), flush=True)
    output.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--negspacy", type=Path)
    parser.add_argument("--medspacy", type=Path)
    parser.add_argument("--reports", type=int, default=600)
    given = parser.parse_args()
    chosen = {name: path for name in ("negspacy", "medspacy") if (path := getattr(given, name)) is not None}
    main(given.shared, given.output, chosen, given.reports)

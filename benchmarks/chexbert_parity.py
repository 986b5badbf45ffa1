"""Labels of this project's CheXbert against those of the package f1chexbert, on the same random weights.

python benchmarks/chexbert_parity.py SHARED_DATA VOCABULARY benchmarks/results/chexbert_parity.json --python PYTHON

f1chexbert 0.0.2 does not run with current transformers and scikit-learn, so it gets an environment of its own:
  python -m venv VENV
  VENV/bin/pip install "torch==2.13.0" "transformers<4.50" "scikit-learn<1.6" pandas appdirs f1chexbert==0.0.2
Weights, vocabulary and configuration are given to it as files; nothing is downloaded.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

from chexbert import random_checkpoint
from machine import describe

from radialog_instruct.findings import FINDINGS
from radialog_instruct.labeling.chexbert import HEADS, ChexbertLabeler
from radialog_instruct.sources import open_source

THEIR_SIDE = """
import json, sys
from pathlib import Path
import torch
from transformers import BertConfig, BertTokenizer
import transformers
work = Path(sys.argv[1])
AutoConfig, AutoTokenizer = transformers.AutoConfig, transformers.AutoTokenizer
BertTokenizer.from_pretrained = classmethod(lambda cls, *a, **k: BertTokenizer(str(work / "vocab.txt")))
AutoConfig.from_pretrained = classmethod(lambda cls, *a, **k: BertConfig())
import f1chexbert.f1chexbert as module
module.hf_hub_download = lambda *a, **k: str(work / "chexbert.pth")
module.CACHE_DIR = str(work)
load = torch.load
torch.load = lambda *a, **k: load(*a, **{**k, "weights_only": False})
scorer = module.F1CheXbert(device="cpu")
texts = json.loads((work / "texts.json").read_text())
labels = [scorer.get_label(text, mode="classification") for text in texts]
(work / "theirs.json").write_text(json.dumps(labels))
"""


def main(shared: Path, vocabulary: Path, output: Path, python: Path, n: int) -> None:
    """Compare and write the result."""
    studies = open_source("iu-xray", shared / "iu_xray").studies()
    texts = list(dict.fromkeys(s.sections.findings for s in studies if s.sections.findings))[:n]
    texts.append(" ".join(texts[:40]))  # longer than 512 tokens
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        random_checkpoint(work / "chexbert.pth")
        (work / "vocab.txt").write_bytes(vocabulary.read_bytes())
        (work / "texts.json").write_text(json.dumps(texts))
        subprocess.run([python, "-c", THEIR_SIDE, folder], check=True)
        theirs = json.loads((work / "theirs.json").read_text())
        ours = ChexbertLabeler(work / "chexbert.pth", vocabulary, device="cpu").label_many(texts)
    meaning = {1: 1, -1: -1, 0: 0, "": None}
    expected = [{name: meaning[value] for name, value in zip(HEADS, row, strict=True)} for row in theirs]
    equal = sum(dict(zip(FINDINGS, mine, strict=True)) == other for mine, other in zip(ours, expected, strict=True))
    values = sorted({str(value) for row in expected for value in row.values()})
    result = {"machine": describe(), "reports": len(texts), "equal": equal, "values_seen": values}
    output.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("vocabulary", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--python", type=Path, required=True)
    parser.add_argument("--reports", type=int, default=60)
    given = parser.parse_args()
    main(given.shared, given.vocabulary, given.output, given.python, given.reports)

"""CheXbert labelling: length-sorted token-budget batches against one report at a time, at equal labels.

python benchmarks/chexbert.py SHARED_DATA VOCABULARY benchmarks/results/chexbert.json [--reports 200] [--device cpu]
                              [--checkpoint chexbert.pth]

Without a checkpoint the weights are random, in the published format and at the published size (bert-base): the time is
the same. VOCABULARY is bert-base-uncased's vocab.txt. Texts are from IU-Xray: distinct reports (findings and
impression), and impressions as they come, which repeat and are labelled once.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from machine import describe
from transformers import BertConfig, BertModel

from radialog_instruct.findings import Labels, make_labels
from radialog_instruct.labeling.chexbert import CLASSES, HEADS, ChexbertLabeler, cleaned, encode
from radialog_instruct.sources import open_source


def random_checkpoint(path: Path) -> Path:
    """Write random weights at bert-base's size in the published checkpoint's format."""
    torch.manual_seed(0)
    bert = BertModel(BertConfig())
    state = {f"module.bert.{name}": value for name, value in bert.state_dict().items()}
    for number, name in enumerate(HEADS):
        size = 2 if name == "No Finding" else len(CLASSES)
        state[f"module.linear_heads.{number}.weight"] = 0.1 * torch.randn(size, 768)
        state[f"module.linear_heads.{number}.bias"] = 0.1 * torch.randn(size)
    torch.save({"model_state_dict": state}, path)
    return path


def one_at_a_time(labeler: ChexbertLabeler, texts: Sequence[str]) -> list[Labels]:
    """Label as CheXbert's own code and f1chexbert do when they score: every report by itself."""
    labels = []
    device = labeler._device
    for text in texts:
        ids = torch.tensor([encode(labeler._tokenizer, cleaned(text))], device=device)
        with torch.inference_mode():
            first = labeler._model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[:, 0]
            classes = [int(head(first).argmax()) for head in labeler._heads]
        labels.append(make_labels({name: CLASSES[c] for name, c in zip(HEADS, classes, strict=True)}))
    return labels


def timed(action: Callable[[], list[Labels]], repeats: int) -> tuple[float, list[Labels]]:
    """Return the shortest time and the labels."""
    times, labels = [], []
    for _ in range(repeats):
        start = time.perf_counter()
        labels = action()
        times.append(time.perf_counter() - start)
    return min(times), labels


def main(shared: Path, vocabulary: Path, output: Path, n: int, device: str, checkpoint: Path | None) -> None:
    """Measure and write the result."""
    sections = [study.sections for study in open_source("iu-xray", shared / "iu_xray").studies()]
    whole = (f"{part.findings or ''} {part.impression or ''}".strip() for part in sections)
    distinct = list(dict.fromkeys(text for text in whole if text))[:n]
    impressions = [part.impression for part in sections if part.impression][: 4 * n]
    result: dict[str, object] = {"machine": describe(), "device": device}
    if device.startswith("cuda"):
        result["gpu"] = torch.cuda.get_device_name()
    with tempfile.TemporaryDirectory() as folder:
        weights = checkpoint if checkpoint is not None else random_checkpoint(Path(folder) / "chexbert.pth")
        labeler = ChexbertLabeler(weights, vocabulary, device=device)
        labeler.label_many(distinct[:8])
        for name, part in (("distinct", distinct), ("impressions_as_they_come", impressions)):
            ours, our_labels = timed(lambda part=part: labeler.label_many(part), 2)
            theirs, their_labels = timed(lambda part=part: one_at_a_time(labeler, part), 2)
            result[name] = {
                "reports": len(part),
                "distinct": len(set(part)),
                "reports_per_second_ours": round(len(part) / ours, 1),
                "reports_per_second_one_at_a_time": round(len(part) / theirs, 1),
                "ratio": round(theirs / ours, 2),
                "equal_labels": sum(a == b for a, b in zip(our_labels, their_labels, strict=True)),
            }
            print(name, json.dumps(result[name]), flush=True)
    output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("vocabulary", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--reports", type=int, default=200)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--checkpoint", type=Path)
    given = parser.parse_args()
    main(given.shared, given.vocabulary, given.output, given.reports, given.device, given.checkpoint)

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from types import ModuleType

import numpy as np
import pytest

from radialog_bench.metrics import BertScoreSettings, Metric, MetricError, radeval_bridge, text_metrics, texts
from radialog_bench.metrics.lexical import mean
from radialog_instruct.errors import UsageError


def lengths(predictions, references):
    return np.array([[len(text), 1] for text in predictions], dtype=float)


def two_metrics():
    yield Metric("length", "length|v1", lengths, mean)
    yield Metric("bleu4", "mine|v1", lengths, mean)


def strangers():
    return ["bleu5"]


def crashing_metrics():
    def crash(predictions, references):
        raise ZeroDivisionError("no words")

    return [
        Metric("crash", "crash|v1", crash, mean),
        Metric("flat", "flat|v1", lambda predictions, references: [1.0], mean),
    ]


@pytest.fixture
def plugins(monkeypatch):
    def install(**named: str) -> None:
        found = [EntryPoint(name, value, texts.GROUP) for name, value in named.items()]
        monkeypatch.setattr(texts, "entry_points", lambda group: found)

    return install


def test_protocols_stand_side_by_side_under_names_and_signatures_of_their_own() -> None:
    ready, missing = text_metrics(("radialog", "radeval", "rexrank"), meteor=False, plugins=False)
    assert missing == []
    names = [metric.name for metric in ready]
    assert names[:5] == ["bleu1", "bleu2", "bleu3", "bleu4", "rouge_l"]
    assert [name.partition("_")[2] for name in names[5:9]] == ["radeval"] * 4
    assert names[9:] == ["rouge1_radeval", "rouge2_radeval", "rouge_l_radeval", "bleu2_rexrank"]
    assert len({metric.signature for metric in ready}) == len(ready)
    answers, references = ["The heart is Normal."], ["The heart is normal."]
    values = {m.name: float(m.value(m.statistics(answers, references).sum(0))) for m in ready}
    assert values["bleu4"] > 0.99 > values["bleu2_radeval"]
    with pytest.raises(UsageError, match="no protocol 'coco'.*choose from: radialog, radeval, rexrank"):
        text_metrics(("coco",))


def test_what_cannot_be_computed_is_named_with_its_reason(monkeypatch) -> None:
    monkeypatch.setattr(texts, "why_no_meteor", lambda: "there is no Java")
    ready, missing = text_metrics((), BertScoreSettings("no/such-encoder", 1, "none"), plugins=False)
    assert ready == []
    assert [(metric.name, reason[:8]) for metric, reason in missing] == [
        ("meteor", "there is"),
        ("bertscore", missing[1][1][:8]),
    ]


def test_plug_ins_add_metrics_and_cannot_take_a_name(plugins) -> None:
    plugins(mine=f"{__name__}:two_metrics")
    ready, missing = text_metrics(meteor=False)
    (length,) = [metric for metric in ready if metric.name == "length"]
    assert length.statistics(["ab", "c"], ["", ""]).tolist() == [[2, 1], [1, 1]]
    ((metric, reason),) = missing
    assert metric.name == "mine.bleu4"
    assert "'bleu4', which there is already" in reason


def test_a_broken_plug_in_is_one_null_metric(plugins) -> None:
    plugins(absent="no.such.module:metrics", odd=f"{__name__}:strangers")
    ready, missing = text_metrics((), meteor=False)
    assert ready == []
    reasons = {metric.name: reason for metric, reason in missing}
    assert "ModuleNotFoundError" in reasons["absent"]
    assert "returned str, not a Metric" in reasons["odd"]


def test_a_plug_in_that_crashes_makes_its_own_metric_null(plugins) -> None:
    plugins(crashing=f"{__name__}:crashing_metrics")
    crash, flat = text_metrics((), meteor=False)[0]
    with pytest.raises(MetricError, match=r"crashing = .*ZeroDivisionError: no words"):
        crash.statistics(["a"], ["b"])
    with pytest.raises(MetricError, match=r"shape \(1,\)"):
        flat.statistics(["a"], ["b"])


def test_radeval_that_is_not_installed_is_a_reason(monkeypatch) -> None:
    monkeypatch.setattr(radeval_bridge.importlib.util, "find_spec", lambda name: None)
    _, missing = text_metrics((), meteor=False, radeval=("green", "radgraph"), plugins=False)
    assert [metric.name for metric, _ in missing] == [
        *["radeval_green", "radeval_radgraph_simple", "radeval_radgraph_partial", "radeval_radgraph_complete"]
    ]
    assert "the package radeval is not installed" in missing[0][1]
    with pytest.raises(UsageError, match="no RadEval metric 'grean'"):
        text_metrics(radeval=("grean",))


@pytest.fixture
def radeval(monkeypatch):
    """A stand-in for the package, which has the constructor and the call of RadEval 2.2."""
    calls = []

    class RadEval:
        def __init__(self, metrics=None, per_sample=False, show_progress=True):
            assert per_sample
            (self.name,) = metrics

        def __call__(self, refs, hyps):
            calls.append(self.name)
            if self.name == "green":
                raise RuntimeError("no GPU")
            if self.name == "ratescore":
                return {"ratescore": [float("nan") for _ in hyps]}
            return {
                f"radgraph_{level}": [float(h == r) for h, r in zip(hyps, refs, strict=True)]
                for level in ("simple", "partial")
            }

    module = ModuleType("radeval")
    module.RadEval = RadEval
    module.__spec__ = EntryPoint  # anything but None: it is there
    monkeypatch.setitem(sys.modules, "radeval", module)
    radeval_bridge._scorer.cache_clear()
    radeval_bridge._last.clear()
    yield calls
    radeval_bridge._scorer.cache_clear()
    radeval_bridge._last.clear()


def test_radeval_gives_a_value_a_sample(radeval) -> None:
    ready, missing = text_metrics(
        (), meteor=False, radeval=("radgraph", "green", "ratescore", "radcliq"), plugins=False
    )
    assert missing == []
    made = {metric.name: metric for metric in ready}
    simple, partial = made["radeval_radgraph_simple"], made["radeval_radgraph_partial"]
    assert simple.statistics(["a", "b"], ["a", "c"]).tolist() == [[1, 1], [0, 1]]
    assert float(partial.value(partial.statistics(["a", "b"], ["a", "c"]).sum(0))) == 0.5
    assert radeval == ["radgraph"]
    assert not made["radeval_radcliq_v1"].higher_is_better
    for name, reason in (
        ("radeval_radgraph_complete", "gave no radgraph_complete"),
        ("radeval_green", "RuntimeError: no GPU"),
        ("radeval_ratescore", "returned nan"),
    ):
        with pytest.raises(MetricError, match=reason):
            made[name].statistics(["a", "b"], ["a", "c"])

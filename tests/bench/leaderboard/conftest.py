from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from radialog_bench.leaderboard import LeaderboardEntry

CHEXBERT = "labeler:chexbert-0123|uncertain:negative|v1"


def metric(value: float | None, signature: str, **more: Any) -> dict[str, Any]:
    return {
        "value": value,
        "ci95": None if value is None else [value - 0.01, value + 0.01],
        "n": 500,
        "n_error": 0,
        "higher_is_better": True,
        "signature": signature,
    } | more


@pytest.fixture
def entry() -> Callable[..., LeaderboardEntry]:
    """Return a maker of entries: report generation on MIMIC-CXR, read by CheXbert, unless told otherwise."""

    def make(
        source: str = "mimic-cxr",
        name: str = "mine",
        reads: str = CHEXBERT,
        metrics: dict[str, Any] | None = None,
        **more,
    ) -> LeaderboardEntry:
        studies = {"mimic-cxr": 3269, "iu-xray": 590}.get(source, 400)
        data = {"source": source, "split": "test", "terms": "credentialed", "manifest_sha256": "ab", "n_studies": 400}
        content = {
            "schema_version": 1,
            "model": {"name": name, "fingerprint": "f" * 64},
            "data": data | more.pop("data", {}),
            "settings": {"on_error": "zero", "view_parser": "whole-word", "tokens": "v2"} | more.pop("settings", {}),
            "evaluations": {
                "report_generation": {
                    "version": 1,
                    "headline": "ce_macro_f1",
                    "n": 500,
                    "n_studies": 400,
                    "n_scored": 500,
                    "n_error": 0,
                    "counts": {"study without a findings section": studies - 400},
                    "metrics": {
                        "ce_macro_f1": metric(0.412, f"ce_macro_f1|{reads}"),
                        "bleu4": metric(0.101, "bleu4|protocol:radialog|tok:nltk-word|lower|v1"),
                        "rouge_l": metric(0.281, "rouge_l|protocol:radialog|tok:nltk-word|lower|v1"),
                    }
                    | (metrics or {}),
                }
                | more.pop("part", {})
            },
            "limited_to_images": False,
            "versions": {"radialog": "0.1.0"},
            "started": "2026-01-02T03:04:05+00:00",
        }
        return LeaderboardEntry.model_validate(content | more)

    return make

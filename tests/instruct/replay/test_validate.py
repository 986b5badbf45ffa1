from __future__ import annotations

import json
from pathlib import Path

import pytest

from radialog_instruct.replay.validate import check_text, overlap

CASES = json.loads((Path(__file__).parent / "verdicts.json").read_text(encoding="utf-8"))
PROMPT = "You sum up chest X-ray reports and say only what stands in the report, in fewer words."


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["text"][:30])
def test_a_text_gets_the_verdict_it_deserves(case: dict) -> None:
    verdict = check_text(case["text"], PROMPT, min_words=3, max_words=case.get("max_words", 20))
    assert sorted(verdict.reasons) == sorted(case["reasons"])
    assert verdict.accepted is not bool(case["reasons"])
    assert list(verdict.flags) == case.get("flags", [])
    if "clean" in case:
        assert verdict.text == case["clean"]


def test_overlap_is_the_share_of_runs_of_words() -> None:
    assert overlap("a b c d e", "x a b c d y", 4) == 0.5
    assert overlap("a b c d", "a b c d", 4) == 1.0
    assert overlap("a b", "a b", 4) == 0.0

from __future__ import annotations

from pathlib import Path

import pytest

from radialog_bench.results import Speed
from radialog_bench.speed import Stopwatch, speed_of
from tests.bench.conftest import bench, read

COUNTS = """
from radialog_bench import Response
class Counts:
    needs_images = False
    def generate(self, requests):
        for r in requests:
            yield Response(r.id, "PA", usage={"new_tokens": 2, "prompt_tokens": 30})
"""


def test_speed_adds_up_over_sittings() -> None:
    first = speed_of(4, 2.0, {"new_tokens": 100})
    assert first == Speed(
        asked=4, seconds=2, seconds_per_request=0.5, usage={"new_tokens": 100}, new_tokens_per_second=50
    )
    second = speed_of(6, 3.0, {"new_tokens": 20, "prompt_tokens": 7}, first)
    assert second is not None
    assert (second.asked, second.seconds, second.seconds_per_request) == (10, 5, 0.5)
    assert second.usage == {"new_tokens": 120, "prompt_tokens": 7}
    assert second.new_tokens_per_second == 24
    assert speed_of(0, 1.0, {}, first) is first
    assert speed_of(0, 1.0, {}) is None
    assert speed_of(1, 1.0, {}).new_tokens_per_second is None


def test_the_time_of_labels_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    from radialog_bench import speed

    ticks = iter([0.0, 1.0, 4.0, 6.0])  # start, the labeler begins, it ends, stop
    monkeypatch.setattr(speed.time, "perf_counter", lambda: next(ticks))
    watch = Stopwatch()
    with watch.running():
        watch.without(lambda texts: [])([])
    assert watch.seconds == 3


def test_run_json_says_how_fast_and_results_json_does_not(tmp_path: Path) -> None:
    model = tmp_path / "m.py"
    model.write_text(COUNTS)
    run = ("run", "-m", f"{model}:Counts", "-e", "view_classification,impression", "--bootstrap", "0")
    assert bench(*run, "-o", tmp_path / "r") == 0
    before = (tmp_path / "r" / "run.json").read_bytes()
    info = read(tmp_path / "r" / "run.json")
    speed = info["speed"]["view_classification"]
    assert (speed["asked"], speed["usage"]) == (24, {"new_tokens": 48, "prompt_tokens": 720})
    assert speed["new_tokens_per_second"] == pytest.approx(48 / speed["seconds"], rel=0.1)
    assert info["finished"] >= info["started"]
    assert info["machine"]["cores"]
    assert info["labeler"].startswith("rules-v")
    assert "seconds" not in (tmp_path / "r" / "results.json").read_text()
    assert bench(*run, "-o", tmp_path / "r") == 0
    assert (tmp_path / "r" / "run.json").read_bytes() == before

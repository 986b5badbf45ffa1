"""Copies of a model in Ray actors. Without ray only the message is tested; with it, real actors that die and hang."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from radialog_bench.adapters.replicas import ReplicatedAdapter
from radialog_instruct.errors import DataError, ModelError, UsageError
from tests.bench.adapters.asking import answers, context, request

RAY = importlib.util.find_spec("ray") is not None
with_ray = pytest.mark.skipif(not RAY, reason="ray is not installed")

SOURCE = """
import os, time
from pathlib import Path
from radialog_bench import Adapter, Message, Response
from radialog_instruct.errors import DataError

class M(Adapter):
    name = "copied"
    needs_images = False
    notices = ("a notice",)
    def __init__(self, once="", fail=False):
        if fail:
            raise DataError("no weights", where="w.pt", mend="fetch them")
        self.once, self.told = once, None
    def fingerprint(self):
        return "f"
    def prepare(self, context):
        self.told = context.split
    def render(self, request):
        return (*request.messages[:-1], Message("user", request.messages[-1].content.upper()))
    def generate(self, requests):
        for r in requests:
            text = r.messages[-1].content
            marker = Path(self.once) / text if self.once else None
            if "always" in text or (marker and "once" in text and not marker.exists()):
                if marker:
                    marker.touch()
                if "dies" in text:
                    os._exit(1)
                time.sleep(600)
            if "raises" in text:
                raise ValueError("no such word")
            if "slow" in text:
                time.sleep(0.5)
            if "skips" not in text:
                yield Response(r.id, f"{text} {self.told} {os.getpid()}")
"""


@pytest.mark.skipif(RAY, reason="ray is installed")
def test_without_ray_the_extra_is_named() -> None:
    with pytest.raises(UsageError, match=r'ray is not installed. pip install "radialog\[ray\]"'):
        ReplicatedAdapter("constant", {}, replicas=2)


def test_no_replica_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="at least one replica"):
        ReplicatedAdapter("constant", {}, replicas=0)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def copies(cluster: None, tmp_path: Path) -> Iterator[Any]:
    (tmp_path / "m.py").write_text(SOURCE)
    made: list[ReplicatedAdapter] = []

    def make(**arguments: Any) -> ReplicatedAdapter:
        adapter = ReplicatedAdapter(f"{tmp_path / 'm.py'}:M", arguments, replicas=2, batch_size=2, num_gpus=0)
        made.append(adapter)
        return adapter

    yield make
    for adapter in made:
        adapter.close()


@with_ray
def test_requests_are_spread_and_answers_come_back(copies: Any) -> None:
    adapter = copies()
    adapter.prepare(context())
    got = answers(adapter, [request(str(n), f"slow {n}") for n in range(8)])
    words = {name: (response.text or "").split() for name, response in got.items()}
    assert {name: word[1] for name, word in words.items()} == {str(n): str(n) for n in range(8)}
    assert {word[2] for word in words.values()} == {"test"}
    assert len({word[3] for word in words.values()}) == 2
    assert (adapter.name, adapter.fingerprint(), adapter.needs_images) == ("copied", "f", False)
    assert adapter.notices == ("a notice",)
    assert adapter.render(request("a", "loud"))[-1].content == "LOUD"


@with_ray
def test_a_stream_keeps_the_copies_busy(copies: Any) -> None:
    adapter = copies()
    adapter.prepare(context())
    queue = [request(str(n), f"slow {n}") for n in range(7)]
    got = [response for response in adapter.stream(lambda: queue.pop() if queue else None) if response is not None]
    assert {response.id for response in got} == {str(n) for n in range(7)}


@with_ray
@pytest.mark.parametrize("how", ["dies", "hangs"])
def test_a_lost_copy_is_replaced_and_its_requests_are_asked_again(copies: Any, tmp_path: Path, how: str) -> None:
    adapter = copies(once=str(tmp_path))
    adapter.prepare(context())
    assert adapter.limit_silence(2.0)
    got = answers(adapter, [request(str(n), f"once {how}" if n == 1 else f"q{n}") for n in range(6)])
    assert [response.error for response in got.values() if response.error] == []
    assert (got["1"].text or "").startswith(f"once {how} test")


@with_ray
def test_a_request_that_kills_every_copy_fails_alone(copies: Any) -> None:
    adapter = copies()
    got = answers(adapter, [request(str(n), "always dies" if n == 1 else f"q{n}") for n in range(4)])
    failed = {name: response.error for name, response in got.items() if response.error is not None}
    assert list(failed) == ["1"]
    assert failed["1"].kind == "adapter"
    assert "the replica died" in failed["1"].message


@with_ray
def test_exceptions_and_broken_contracts_are_what_they_are_without_copies(copies: Any) -> None:
    adapter = copies()
    got = answers(adapter, [request("a", "raises"), request("b", "fine")])
    assert got["a"].error is not None
    assert got["a"].error.message == "ValueError: no such word"
    with pytest.raises(ModelError, match="left 1 requests without a response, 'a' first"):
        answers(adapter, [request("a", "skips")])
    with pytest.raises(DataError, match=r"w\.pt: no weights\. fetch them"):
        copies(fail=True)


@with_ray
def test_a_run_over_copies_scores_as_one(cluster: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from radialog_bench.cli import app
    from radialog_instruct.terminal import run_app

    for name, options in {"one": [], "three": ["--replicas", "3", "--gpus-per-replica", "0"]}.items():
        arguments = ["run", "-m", "oracle", "-e", "report_generation", "--bootstrap", "0", *options]
        assert run_app(app, "radialog-bench", [*arguments, "-o", str(tmp_path / name)]) == 0, capsys.readouterr().err
    assert (tmp_path / "one" / "results.json").read_bytes() == (tmp_path / "three" / "results.json").read_bytes()

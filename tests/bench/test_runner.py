from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from radialog_bench import Adapter, All, Ask, AskFailed, Label, Message, Request, Response
from radialog_bench.responses import Index, ResponseLog
from radialog_bench.runner import Runner, RunnerSettings
from radialog_instruct.errors import DataError, ModelError
from radialog_instruct.labeling import rules


def request(name: str, text: str = "?") -> Request:
    return Request(name, "test", "turn", (Message("user", text),))


class Backwards(Adapter):
    """Answers in reverse order and remembers what it was asked."""

    name = "backwards"

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def generate(self, requests: list[Request]) -> Iterable[Response]:
        self.batches.append([r.id for r in requests])
        for r in reversed(requests):
            yield Response(r.id, f"answer to {r.id}")


def run(adapter: Adapter, dialogs, path: Path, *, batch: int = 4, window: int = 16):
    with ResponseLog(path) as log:
        runner = Runner(adapter, "f", log, rules.label_many, RunnerSettings(batch, window))
        results = dict(runner.run(dialogs))
    return results, runner.stats


def ask(name: str):
    response = yield Ask(request(name))
    return response.text


def test_answers_in_any_order_reach_their_dialogs(tmp_path: Path) -> None:
    adapter = Backwards()
    results, stats = run(adapter, (ask(str(i)) for i in range(10)), tmp_path / "log")
    assert results == {i: f"answer to {i}" for i in range(10)}
    assert [len(batch) for batch in adapter.batches] == [4, 4, 2]
    assert stats.asked == 10


@pytest.mark.parametrize(("batch", "window"), [(1, 1), (3, 64), (64, 5)])
def test_batch_and_window_change_nothing_but_the_batches(tmp_path: Path, batch: int, window: int) -> None:
    results, _ = run(Backwards(), (ask(str(i)) for i in range(20)), tmp_path / "log", batch=batch, window=window)
    assert results == {i: f"answer to {i}" for i in range(20)}


def test_a_dialog_goes_on_with_answers_and_labels(tmp_path: Path) -> None:
    def dialog():
        draft = yield Ask(request("report"))
        labels = yield Label("There is cardiomegaly.")
        later = yield Ask(request("correction", draft.text))
        return labels[2], later.text

    results, _ = run(Backwards(), [dialog()], tmp_path / "log")
    assert results[0] == (1, "answer to correction")


def test_forks_keep_their_order_and_one_failure_does_not_lose_the_others(tmp_path: Path) -> None:
    class Picky(Backwards):
        def generate(self, requests):
            for r in requests:
                bad = r.id.endswith("bad")
                yield Response.failure(r.id, "adapter", "no") if bad else Response(r.id, r.id)

    def branch():
        inner = yield from ask("sub")
        return inner.upper()

    def dialog():
        results = yield All(Ask(request("a")), Ask(request("bad")), branch(), All(Ask(request("b")), Label("Edema.")))
        empty = yield All()
        return results, empty

    results, stats = run(Picky(), [dialog()], tmp_path / "log")
    (first, failed, sub, nested), empty = results[0]
    assert first.text == "a"
    assert isinstance(failed, AskFailed)
    assert failed.failure.kind == "adapter"
    assert sub == "SUB"
    assert nested[0].text == "b"
    assert nested[1][5] == 1
    assert empty == []
    assert stats.failures == {"adapter": 1}


def test_a_failed_ask_is_raised_inside_its_dialog(tmp_path: Path) -> None:
    class Raises(Adapter):
        name = "raises"

        def generate(self, requests):
            raise RuntimeError("out of memory")

    def careful():
        try:
            yield Ask(request("x"))
        except AskFailed as error:
            return f"caught {error.failure.message}"

    results, stats = run(Raises(), [careful(), ask("y")], tmp_path / "log")
    assert results[0] == "caught RuntimeError: out of memory"
    assert isinstance(results[1], AskFailed)
    assert stats.failures == {"adapter": 2}


class Answers(Adapter):
    """Returns what a test wants it to."""

    name = "answers"

    def __init__(self, *responses: object) -> None:
        self.responses = responses

    def generate(self, requests):
        return list(self.responses)


@pytest.mark.parametrize(
    ("responses", "message"),
    [
        ((), "left 1 of 1 requests without a response, 'x' first"),
        ((Response("y", "?"),), "answered an unknown or already answered request 'y'"),
        ((Response("x", "1"), Response("x", "2")), "already answered request 'x'"),
        (("text",), "returned str instead of Response"),
        ((Response("x"),), "neither a text nor a failure"),
        ((Response("x", 5),), "neither a text nor a failure"),  # type: ignore[arg-type]
    ],
)
def test_a_broken_contract_names_the_adapter(tmp_path: Path, responses: tuple, message: str) -> None:
    with pytest.raises(ModelError, match="answers: the adapter") as caught:
        run(Answers(*responses), [ask("x")], tmp_path / "log")
    assert message in str(caught.value)


def test_a_second_run_asks_nothing_and_an_edited_question_is_asked(tmp_path: Path) -> None:
    run(Backwards(), (ask(str(i)) for i in range(5)), tmp_path / "log")
    again = Backwards()
    results, stats = run(again, (ask(str(i)) for i in range(6)), tmp_path / "log")
    assert again.batches == [["5"]]
    assert (stats.asked, stats.from_log) == (1, 5)
    assert results[3] == "answer to 3"


def test_the_logs_of_a_run_share_what_was_asked(tmp_path: Path) -> None:
    known: Index = {}
    for place, name in enumerate(("first", "second", "third")):
        with ResponseLog(tmp_path / name, known) as log:
            runner = Runner(Backwards(), "f", log, rules.label_many, RunnerSettings(4, 16))
            results = dict(runner.run(ask(str(i)) for i in range(2 * place, 6)))
        assert results == {i: f"answer to {i + 2 * place}" for i in range(6 - 2 * place)}
        assert (runner.stats.asked, runner.stats.from_log) == ((6, 0) if place == 0 else (0, 6 - 2 * place))
    assert (tmp_path / "second").read_bytes() == b""


def test_failures_are_asked_again(tmp_path: Path) -> None:
    run(Answers(Response.failure("x", "adapter", "busy")), [ask("x")], tmp_path / "log")
    results, stats = run(Backwards(), [ask("x")], tmp_path / "log")
    assert (results[0], stats.asked) == ("answer to x", 1)
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line.get("error", {}).get("kind") for line in lines] == ["adapter", None]


def test_a_torn_last_line_is_removed_and_only_that_one_is_asked_again(tmp_path: Path) -> None:
    path = tmp_path / "log"
    run(Backwards(), (ask(str(i)) for i in range(3)), path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    with ResponseLog(path) as log:
        assert log.repaired
    _, stats = run(Backwards(), (ask(str(i)) for i in range(3)), path)
    assert (stats.asked, stats.from_log) == (1, 2)
    assert path.read_bytes() == whole


def test_damage_in_the_middle_is_an_error_that_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    run(Backwards(), (ask(str(i)) for i in range(3)), path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"{garbage\n" + lines[2])
    with pytest.raises(DataError, match=r"log:2: the response log is damaged"):
        ResponseLog(path)


def test_ten_thousand_dialogs_hold_no_more_than_the_window(tmp_path: Path) -> None:
    alive = peak = 0

    def counted(i: int):
        nonlocal alive, peak
        alive += 1
        peak = max(peak, alive)
        yield Ask(request(str(i)))
        alive -= 1
        return i

    results, stats = run(Backwards(), (counted(i) for i in range(10_000)), tmp_path / "log", batch=32, window=64)
    assert len(results) == 10_000
    assert peak <= 64 + 32
    assert set(stats.batches) <= {32, 16}


class Stream(Backwards):
    """Keeps a few requests under way and answers the newest first."""

    name = "stream"

    def __init__(self, room: int = 4) -> None:
        super().__init__()
        self.room, self.fill = room, []

    def stream(self, take):
        under_way: list[Request] = []
        while True:
            while len(under_way) < self.room and (taken := take()) is not None:
                under_way.append(taken)
            if not under_way:
                return
            self.fill.append(len(under_way))
            yield None
            yield Response(under_way[-1].id, f"answer to {under_way.pop().id}")


def chain(name: str):
    first = yield Ask(request(f"{name}.1"))
    labels = yield Label("There is cardiomegaly." if name < "5" else f"Report {name}: clear.")
    parts = yield All(*(Ask(request(f"{name}.2.{part}", first.text)) for part in range(3)))
    return labels[2], [part.text for part in parts]


@pytest.mark.parametrize("window", [1, 3, 64])
def test_a_stream_is_refilled_as_answers_arrive(tmp_path: Path, window: int) -> None:
    adapter = Stream()
    results, stats = run(adapter, (chain(str(i)) for i in range(10)), tmp_path / "log", window=window)
    assert results == {i: (1 if i < 5 else None, [f"answer to {i}.2.{part}" for part in range(3)]) for i in range(10)}
    assert (stats.asked, adapter.batches) == (40, [])
    if window == 64:
        assert adapter.fill[:28] == [4] * 28  # the first three are answered last, and hold back their nine
    again = Stream()
    resumed, stats = run(again, (chain(str(i)) for i in range(10)), tmp_path / "log", window=window)
    assert (resumed, stats.asked, stats.from_log) == (results, 0, 40)


def test_a_stream_that_breaks_off_fails_only_what_was_under_way(tmp_path: Path) -> None:
    class BreaksOnce(Stream):
        broken = False

        def stream(self, take):
            if self.broken:
                yield from super().stream(take)
                return
            self.broken = True
            take(), take()
            raise OSError("connection lost")

    results, stats = run(BreaksOnce(), (ask(str(i)) for i in range(6)), tmp_path / "log")
    assert stats.failures == {"adapter": 2}
    assert [i for i, result in sorted(results.items()) if isinstance(result, AskFailed)] == [0, 1]
    assert results[5] == "answer to 5"


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (lambda take: iter(()), "stream took no request"),
        (lambda take: iter([take() and None]), "left 1 of 1 requests without a response, '0' first"),
        (lambda take: iter([Response("elsewhere", "?")]), "answered an unknown or already answered request"),
        (lambda take: iter([Response(take().id)]), "neither a text nor a failure"),
    ],
)
def test_a_stream_is_held_to_the_contract(tmp_path: Path, answers, message: str) -> None:
    class Odd(Stream):
        def stream(self, take):
            return answers(take)

    with pytest.raises(ModelError, match=message):
        run(Odd(), (ask(str(i)) for i in range(6)), tmp_path / "log")


def test_an_attribute_called_stream_is_no_stream(tmp_path: Path) -> None:
    class Flag(Backwards):
        stream = True

    results, _ = run(Flag(), [ask("x")], tmp_path / "log")
    assert results == {0: "answer to x"}


def test_two_requests_of_one_id_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="two requests have one id"):
        run(Stream(), [ask("x"), ask("x")], tmp_path / "log")

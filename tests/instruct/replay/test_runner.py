from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from radialog_instruct.build.engine import build_dataset
from radialog_instruct.chat_server import Call, Completion, ServerSettings
from radialog_instruct.check.run import check_dataset
from radialog_instruct.config import TASK_NAMES, BuildConfig, BuildPlaces
from radialog_instruct.errors import DataError, ExitCode, ModelError, UsageError
from radialog_instruct.mixtures import load_mixture
from radialog_instruct.replay.backends.base import Result
from radialog_instruct.replay.backends.batchfile import BatchFileBackend, BatchSettings
from radialog_instruct.replay.backends.echo import EchoBackend
from radialog_instruct.replay.backends.openai import OpenAIBackend
from radialog_instruct.replay.folder import Answers
from radialog_instruct.replay.request import ModelIdentity, ReplayPolicy, ReplayRequest
from radialog_instruct.replay.runner import ReplayJob, run_replay
from radialog_instruct.replay.summary import ReplaySummary
from radialog_instruct.tasks import REPLAY_TASKS
from tests.instruct.replay.fake_server import MODEL, Script, serving

IDENTITY = ModelIdentity(model=MODEL, revision="1")
ROOT = Path(__file__).parents[3]


def config(**changes: object) -> BuildConfig:
    return BuildConfig(source="demo", mixture=load_mixture("full"), **changes)  # type: ignore[arg-type]


def replay(folder: Path, backend, *, policy: dict | None = None, **job: object) -> ReplaySummary:
    made = ReplayPolicy(identity=IDENTITY, **(policy or {}))
    return run_replay(config(), BuildPlaces(out=folder), ReplayJob(made, folder, **job), lambda: backend)  # type: ignore[arg-type]


def never() -> None:
    raise AssertionError("an engine was started")


def server(url: str, **changes: object) -> OpenAIBackend:
    return OpenAIBackend(ServerSettings(url, MODEL, **{"backoff": 0.005, "retries": 3, **changes}))  # type: ignore[arg-type]


def counts(summary: ReplaySummary) -> tuple[int, int, int, int]:
    return (
        sum(summary.samples.values()),
        sum(summary.accepted.values()),
        sum(n for reasons in summary.rejected.values() for n in reasons.values()),
        sum(n for reasons in summary.unanswered.values() for n in reasons.values()),
    )


def test_every_sample_is_decided_and_a_second_run_starts_no_engine(tmp_path: Path) -> None:
    summary = replay(tmp_path, EchoBackend())
    n, accepted, rejected, unanswered = counts(summary)
    assert n == accepted + rejected == 240
    assert unanswered == 0
    assert summary.exit_code() is ExitCode.COMPLETE
    again = run_replay(config(), BuildPlaces(out=tmp_path), ReplayJob(ReplayPolicy(identity=IDENTITY), tmp_path), never)
    assert counts(again) == counts(summary)
    assert (again.asked, again.spent) == (0, summary.spent)


def test_rejects_are_kept_with_text_and_reasons(tmp_path: Path) -> None:
    summary = replay(tmp_path, EchoBackend())
    kept = Counter[str]()
    for path in (tmp_path / "rejected").iterdir():
        for line in path.read_text().splitlines():
            record = json.loads(line)
            kept[record["task"]] += 1
            assert len(record["attempts"]) == 3
            assert all(attempt["reasons"] and attempt["text"] for attempt in record["attempts"])
    assert kept == {task: sum(reasons.values()) for task, reasons in summary.rejected.items()}


def test_workers_share_the_samples_and_build_the_same_dataset(tmp_path: Path) -> None:
    whole = replay(tmp_path / "whole", EchoBackend())
    parts = [replay(tmp_path / "parts", EchoBackend(), worker=(i, 3)) for i in range(3)]
    assert sum(counts(part)[0] for part in parts) == counts(whole)[0]
    assert all(counts(part)[0] > 40 for part in parts)
    policy = ReplayPolicy(identity=IDENTITY)
    for name in ("whole", "parts"):
        places = BuildPlaces(out=tmp_path / f"built-{name}", replay=tmp_path / name)
        build_dataset(config(replay=policy), places)
    files = [
        {p.relative_to(tmp_path / f"built-{n}"): p.read_bytes() for p in (tmp_path / f"built-{n}").rglob("*.*")}
        for n in ("whole", "parts")
    ]
    assert files[0] == files[1]


def test_a_folder_belongs_to_one_policy(tmp_path: Path) -> None:
    replay(tmp_path / "r", EchoBackend(), limit=3)
    with pytest.raises(UsageError, match="attempts"):
        replay(tmp_path / "r", EchoBackend(), policy={"attempts": 5})
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="other files"):
        replay(tmp_path / "other", EchoBackend())


def test_a_build_holds_accepted_answers_with_their_origin(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    summary = replay(tmp_path / "r", EchoBackend())
    policy = ReplayPolicy(identity=IDENTITY)
    manifest = build_dataset(config(replay=policy), BuildPlaces(out=tmp_path / "d", replay=tmp_path / "r"))
    rows = [row for file in (tmp_path / "d").glob("*/*.parquet") for row in pq.read_table(file).to_pylist()]
    written = [row for row in rows if row["target_source"] == "llm"]
    assert Counter(row["task"] for row in written) == summary.accepted
    with Answers(tmp_path / "r") as answers:
        for row in written:
            origin = row["generator"]
            assert (origin["model"], origin["engine"], origin["finish_reason"]) == (MODEL, "echo", "stop")
            kept = answers.get(bytes.fromhex(origin["request_hash"]))
            assert kept is not None
            assert row["messages"][-1]["content"] in kept.text
    assert all(row["generator"] is None for row in rows if row["target_source"] != "llm")
    left_out = manifest.left_out()
    for task, reasons in summary.rejected.items():
        assert {f"rejected: {reason}": n for reason, n in reasons.items()} == left_out[task]
    assert all(result.passed for result in check_dataset(tmp_path / "d"))


def test_without_a_replay_its_tasks_are_named_as_left_out(tmp_path: Path) -> None:
    manifest = build_dataset(config(), BuildPlaces(out=tmp_path))
    (note,) = [note for note in manifest.notes if "replay" in note]
    assert note.endswith("correction, summarization, easy_language, region_qa")
    assert manifest.notes[note] == 4
    assert set(manifest.rows()) == {name for name in TASK_NAMES if name not in REPLAY_TASKS}


def test_an_identical_request_is_sent_once(tmp_path: Path) -> None:
    script = Script()
    with serving(script) as url:
        replay(tmp_path, server(url), policy={"attempts": 2})
    assert max(script.asked.values()) == 1
    # Reports of the demo repeat, and so do requests about them.
    assert len(script.asked) < 2 * 240


@pytest.mark.parametrize("fault", [429, 500, 503, "garbage", "half"])
def test_a_passing_fault_costs_no_answer(tmp_path: Path, fault: object) -> None:
    script = Script(faults=lambda number, before: fault if before == 0 and number % 3 == 0 else None)
    with serving(script) as url:
        summary = replay(tmp_path, server(url), limit=60, policy={"attempts": 2})
    assert counts(summary)[3] == 0
    assert summary.failed == 0
    assert max(script.answered.values()) == 1


def test_a_request_that_never_succeeds_is_counted_and_the_others_are_kept(tmp_path: Path) -> None:
    script = Script(faults=lambda number, before: None)

    def faults(number: int, before: int) -> int | None:
        return 500 if script.bodies[number] == script.bodies[0] else None

    script.faults = faults
    with serving(script) as url:
        summary = replay(tmp_path, server(url, concurrency=1), limit=40, policy={"attempts": 2})
        assert summary.failed == 1
        assert summary.exit_code() is ExitCode.FAILED_SAMPLES
        assert counts(summary)[3] >= 1
        assert "status 500, 4 times" in next(iter(summary.unanswered.values()))
        script.faults = lambda number, before: None
        mended = replay(tmp_path, server(url), limit=40, policy={"attempts": 2})
    assert counts(mended)[3] == 0
    assert mended.exit_code() is ExitCode.COMPLETE
    assert max(script.answered.values()) == 1


def test_a_server_that_dies_ends_the_run_with_what_it_had(tmp_path: Path) -> None:
    script = Script(delay=0.01)
    with serving(script) as url:
        backend = server(url, concurrency=2, retries=1)
        client, n = backend._server, 0
        real = client._asked

        async def asked(call: Call[bytes]) -> Completion[bytes]:
            nonlocal n
            n += 1
            if n > 30:  # nobody listens there
                client._settings = replace(client._settings, base_url="http://127.0.0.1:9/v1")
            return await real(call)

        client._asked = asked  # type: ignore[method-assign,assignment]
        with pytest.raises(ModelError, match="server is gone"):
            replay(tmp_path, backend)
    summary = ReplaySummary.model_validate_json((tmp_path / "summary.json").read_text())
    assert 28 <= summary.answered <= 31
    assert sum(counts(summary)[1:]) == counts(summary)[0] == 240
    with Answers(tmp_path) as answers:
        assert len(answers) == summary.answered


def test_answers_under_way_are_kept_when_a_request_ends_the_run(tmp_path: Path) -> None:
    # The fifth request is refused for good while its neighbours are being answered slowly.
    script = Script(delay=0.3, faults=lambda number, before: 403 if number == 4 else None)
    with serving(script) as url, pytest.raises(ModelError, match="refuses with status 403"):
        replay(tmp_path, server(url, concurrency=8), policy={"attempts": 2})
    with Answers(tmp_path) as answers:
        # Seven neighbours, and what was sent for those of them whose answers came before the refusal.
        assert len(answers) == sum(script.answered.values())
        assert 7 <= len(answers) <= 14


def test_a_request_the_server_does_not_accept_fails_alone_and_is_not_repeated(tmp_path: Path) -> None:
    script = Script(faults=lambda number, before: 400 if number == 2 else None)
    with serving(script) as url:
        summary = replay(tmp_path, server(url, concurrency=1), limit=10, policy={"attempts": 1})
    assert summary.failed == counts(summary)[3] == 1
    assert "status 400" in next(iter(summary.unanswered.values()))
    assert max(script.asked.values()) == 1


def test_wrong_server_settings_are_named_before_anything_is_asked(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not answer"):
        server("http://127.0.0.1:9/v1")
    script = Script(models=("another",))
    with serving(script) as url, pytest.raises(ModelError, match="no model 'test-model'.*another"):
        server(url)
    script = Script(faults=lambda number, before: 401)
    with serving(script) as url, pytest.raises(ModelError, match="refuses with status 401"):
        replay(tmp_path, server(url))
    assert not any(script.answered.values())


def test_concurrency_is_bounded_and_used(tmp_path: Path) -> None:
    script = Script(delay=0.02)
    with serving(script) as url:
        replay(tmp_path, server(url, concurrency=7), limit=100)
    assert script.most_running == 7


def test_a_server_may_say_how_long_to_wait(tmp_path: Path) -> None:
    script = Script(headers={"retry-after": "1"}, faults=lambda number, before: 429 if number == 0 else None)
    began = time.monotonic()
    with serving(script) as url:
        replay(tmp_path, server(url), limit=1, policy={"attempts": 1})
    assert time.monotonic() - began >= 1.0


def test_a_slow_server_is_given_up_request_by_request(tmp_path: Path) -> None:
    script = Script(delay=0.5)
    with serving(script) as url:
        summary = replay(tmp_path, server(url, timeout=0.1, retries=1), limit=2)
    assert counts(summary)[3] == 2
    assert "no answer within 0.1 s, 2 times" in next(iter(summary.unanswered.values()))


def test_a_cut_off_answer_is_asked_again_with_more_room(tmp_path: Path) -> None:
    script = Script(faults=lambda number, before: "length" if number == 0 else None)
    with serving(script) as url:
        replay(tmp_path, server(url), limit=1, policy={"attempts": 2})
    first, second = (body["max_tokens"] for body in script.bodies)
    assert second == 2 * first


def test_an_llm_that_always_refuses_ends_with_nothing_accepted(tmp_path: Path) -> None:
    script = Script(answer=lambda messages: "I'm sorry, but I cannot help with medical questions.")
    with serving(script) as url:
        summary = replay(tmp_path, server(url), policy={"structured": False, "attempts": 2})
    assert counts(summary) == (240, 0, 240, 0)
    assert summary.exit_code() is ExitCode.NOTHING_SCORED
    assert all("refusal" in reasons for reasons in summary.not_taken.values())
    assert max(script.asked.values()) == 1


def test_the_llm_judge_is_asked_about_what_passed_and_may_say_no(tmp_path: Path) -> None:
    def answer(messages: list[dict[str, str]]) -> str:
        if messages[-1]["content"].endswith("Reply yes or no."):
            return "no" if "Is the patient's heart healthy?" in messages[-1]["content"] else "yes"
        return "No. The report describes nothing of the kind."

    script = Script(answer=answer)
    with serving(script) as url:
        judged = replay(tmp_path / "judged", server(url), policy={"judge": True, "attempts": 2})
    plain = replay(tmp_path / "plain", EchoBackend(), policy={"attempts": 2})
    assert counts(judged)[3] == 0
    assert judged.samples == plain.samples
    choices = [body for body in script.bodies if body.get("structured_outputs") == {"choice": ["yes", "no"]}]
    assert len(choices) == len({json.dumps(body["messages"]) for body in choices})
    assert len(choices) >= judged.accepted["region_qa"]


def test_an_engine_that_loses_a_request_is_not_asked_for_ever(tmp_path: Path) -> None:
    class Forgetful(EchoBackend):
        def generate(self, requests: Iterable[ReplayRequest]) -> Iterator[Result | None]:
            for number, result in enumerate(super().generate(requests)):
                if number % 5:
                    yield result

    summary = replay(tmp_path, Forgetful())
    assert counts(summary)[3] == summary.failed > 0
    assert "the engine gave no result" in next(iter(summary.unanswered.values()))


def run_batch(folder: Path, *, lines: int | None = None, cut: bool = False) -> None:
    """Do what vllm run-batch does: results in the order of the requests."""
    path = max(folder.glob("*-requests.jsonl"))
    out = []
    for line in path.read_text().splitlines()[:lines]:
        request = json.loads(line)
        message = {"content": "No. The report describes nothing of the kind."}
        body = {"choices": [{"message": message, "finish_reason": "stop"}], "usage": {"prompt_tokens": 9}}
        out.append(json.dumps({"custom_id": request["custom_id"], "response": {"status_code": 200, "body": body}}))
    text = "\n".join(out) + "\n"
    target = path.with_name(path.name.replace("requests", "results"))
    target.write_text(text[: -len(out[-1]) // 2] if cut else text)


def test_batch_files_go_out_and_come_back_until_all_is_decided(tmp_path: Path) -> None:
    settings = BatchSettings(tmp_path / "batch", MODEL)

    def step() -> ReplaySummary:
        return replay(tmp_path, BatchFileBackend(settings), policy={"attempts": 2})

    first = step()
    assert counts(first)[3] == 240
    assert first.exit_code() is ExitCode.FAILED_SAMPLES
    step()  # nobody has run it yet: the same file again
    assert [p.name for p in sorted((tmp_path / "batch").iterdir())] == ["001-requests.jsonl"]
    run_batch(tmp_path / "batch", lines=100, cut=True)  # killed while it wrote a line
    second = step()
    sent = {json.loads(x)["custom_id"] for x in (tmp_path / "batch" / "002-requests.jsonl").read_text().splitlines()}
    done = [
        json.loads(x)["custom_id"] for x in (tmp_path / "batch" / "001-results.jsonl").read_text().splitlines()[:-1]
    ]
    assert len(done) == 99
    assert not sent & set(done)
    run_batch(tmp_path / "batch")
    third = step()
    run_batch(tmp_path / "batch")
    last = step()
    assert counts(second)[3] > counts(third)[3] >= counts(last)[3] == 0
    assert last.exit_code() is ExitCode.COMPLETE


def test_a_batch_command_runs_to_the_end_in_one_go(tmp_path: Path) -> None:
    script = tmp_path / "engine.py"
    script.write_text(
        "import json, sys\n"
        "with open(sys.argv[1]) as source, open(sys.argv[2], 'w') as out:\n"
        "    for line in source:\n"
        "        request = json.loads(line)\n"
        "        choice = {'message': {'content': 'No. Nothing of the kind is described.'}, 'finish_reason': 'stop'}\n"
        "        body = {'choices': [choice], 'usage': {}}\n"
        "        out.write(json.dumps({'custom_id': request['custom_id'], 'response': {'body': body}}) + '\\n')\n"
    )
    command = f"{sys.executable} {script} {{input}} {{output}}"
    summary = replay(tmp_path / "r", BatchFileBackend(BatchSettings(tmp_path / "r" / "batch", MODEL, command)))
    assert counts(summary)[3] == 0
    assert summary.accepted["region_qa"] > 0
    with pytest.raises(UsageError, match="input"):
        BatchFileBackend(BatchSettings(tmp_path / "batch", MODEL, "vllm run-batch"))
    failing = BatchFileBackend(BatchSettings(tmp_path / "f" / "batch", MODEL, "false {input} {output}"))
    with pytest.raises(ModelError, match="ended with 1"):
        replay(tmp_path / "f", failing)


def command(out: Path, url: str, *more: str) -> list[str]:
    program = [sys.executable, "-m", "radialog_instruct.cli", "replay", "--out", str(out), "--backend", "openai"]
    options = ["--model", MODEL, "--base-url", url, "--mixture", "full", "--backoff", "0.01", "--attempts", "2"]
    return [*program, *options, *more]


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT])
def test_after_a_kill_nothing_committed_is_asked_again(tmp_path: Path, stop: signal.Signals) -> None:
    script = Script(delay=0.02)
    with serving(script) as url:
        process = subprocess.Popen(
            command(tmp_path / "r", url, "--concurrency", "4"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        deadline = time.monotonic() + 120
        while sum(script.answered.values()) < 150 and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(process.pid, stop)
        _, errors = process.communicate(timeout=60)
        if stop is signal.SIGINT:
            assert process.returncode == ExitCode.INTERRUPTED
            assert b"resume with: radialog-instruct replay" in errors
        with Answers(tmp_path / "r") as answers:
            committed = len(answers)
        before = sum(script.answered.values())
        assert committed > 50
        if stop is signal.SIGINT:
            assert committed >= before - 4  # all that had arrived
        done = subprocess.run(command(tmp_path / "r", url, "--json"), capture_output=True, cwd=ROOT, check=False)
        assert done.returncode == 0, done.stderr
        undisturbed = subprocess.run(command(tmp_path / "u", url), capture_output=True, cwd=ROOT, check=False)
        assert undisturbed.returncode == 0
    summary = ReplaySummary.model_validate_json(done.stdout)
    with Answers(tmp_path / "r") as answers, Answers(tmp_path / "u") as other:
        # Everything that was committed is among the answers and was not asked again.
        assert summary.asked == len(answers) - committed
        assert answers.digest() == other.digest()


def test_a_locked_cache_and_a_missing_folder_are_said(tmp_path: Path) -> None:
    from radialog_instruct.replay.cache import AnswerCache

    replay(tmp_path, EchoBackend(), limit=1)
    with AnswerCache(tmp_path / "answers.sqlite", writable=True), pytest.raises(DataError, match="another process"):
        replay(tmp_path, EchoBackend(), limit=1)
    with pytest.raises(DataError, match=r"no replay\.json"):
        Answers(tmp_path / "nowhere")


def test_the_demo_ships_with_the_answers_of_all_ten_tasks(tmp_path: Path) -> None:
    from radialog_instruct.build.manifest import read_manifest
    from radialog_instruct.cli import app
    from radialog_instruct.terminal import run_app

    for mixture in ("full", "paper"):
        out = tmp_path / mixture
        assert run_app(app, "radialog-instruct", ["build", "--out", str(out), "--mixture", mixture]) == 0
        manifest = read_manifest(out)
        assert manifest is not None
        # A prompt that was changed without asking the LLM again shows here.
        assert not any("no answer yet" in reasons for reasons in manifest.left_out().values())
        assert set(manifest.rows()) >= (set(TASK_NAMES) if mixture == "full" else set(REPLAY_TASKS))
    assert manifest.config.replay is not None
    assert manifest.config.replay.identity.model == "smollm2-135m"

from __future__ import annotations

import os
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from radialog_bench.adapters import rexrank
from radialog_bench.adapters.registry import load_adapter
from radialog_bench.testing import check_adapter
from radialog_instruct.errors import ModelError, UsageError
from tests.bench.adapters.asking import IMAGES, answers, request

LINES = """
import json, os, sys, time
print("loading weights", file=sys.stderr)
for line in sys.stdin:
    r = json.loads(line)
    text = r["messages"][-1]["content"]
    if "hang" in text: time.sleep(600)
    if "crash" in text: print("no memory", file=sys.stderr, flush=True); os._exit(3)
    if "noise" in text: print("Loading checkpoint shards: 100%", flush=True); continue
    if "stranger" in text: r["id"] = "someone else"
    answer = {"id": r["id"], "text": text.upper(), "usage": {"new_tokens": 2, "pid": os.getpid()}}
    if "cannot" in text: answer = {"id": r["id"], "error": "not that one"}
    if "wrong" in text: answer["text"] = 5
    if "image" in text: answer["text"] = str(os.path.getsize(r["images"][0]["path"]))
    print(json.dumps(answer), flush=True)
"""
REXRANK = """
import argparse, json, os, sys, time
p = argparse.ArgumentParser()
for name in ("input_json_file", "save_json_file", "img_root_dir"): p.add_argument("--" + name)
p.add_argument("--fault")
a = p.parse_args()
studies, out = json.load(open(a.input_json_file)), {}
print("a program may print what it likes")
for n, (key, study) in enumerate(studies.items()):
    if a.fault == "crash" and n == 1: json.dump(out, open(a.save_json_file, "w")); sys.exit("no memory")
    if a.fault == "hang": time.sleep(600)
    size = os.path.getsize(a.img_root_dir + study["image_path"][0])
    assert os.path.join(a.img_root_dir, study["key_image_path"]) == a.img_root_dir + study["image_path"][0]
    study["model_prediction"] = f"Findings: {size} bytes. Impression: {study['context']}"
    out[key] = study
if a.fault == "list": out = list(out)
json.dump(out, open(a.save_json_file, "w"))
"""


def program(folder: Path, source: str, *options: str) -> str:
    (folder / "program.py").write_text(source)
    return "script:" + shlex.join([sys.executable, str(folder / "program.py"), *options])


def test_one_program_answers_all_batches(tmp_path: Path) -> None:
    adapter = load_adapter(program(tmp_path, LINES))
    first = answers(adapter, [request("a", "größe"), request("b", "cannot"), request("c", "image size")])
    second = answers(adapter, [request("a", "again")])
    adapter.close()
    assert first["a"].text == "GRÖSSE"
    assert first["b"].error is not None
    assert (first["b"].error.kind, first["b"].error.message) == ("adapter", "not that one")
    assert first["c"].text == str(IMAGES[0].stat().st_size)
    assert first["a"].usage["pid"] == second["a"].usage["pid"]


@pytest.mark.parametrize(
    ("word", "kind", "message"),
    [
        ("hang", "timeout", "no answer within 2 s"),
        ("crash", "adapter", "code 3; its last words: loading weights | no memory"),
    ],
)
def test_a_program_that_is_lost_is_replaced_and_only_its_request_fails(
    tmp_path: Path, word: str, kind: str, message: str
) -> None:
    adapter = load_adapter(program(tmp_path, LINES), {"timeout": 600})
    assert adapter.limit_silence(2.0)
    got = answers(adapter, [request("a", "one"), request("b", word), request("c", "three"), request("d", "four")])
    adapter.close()
    assert [got[name].text for name in "acd"] == ["ONE", "THREE", "FOUR"]
    assert got["b"].error is not None
    assert got["b"].error.kind == kind
    assert message in got["b"].error.message


def test_a_program_that_never_answers_ends_the_run(tmp_path: Path) -> None:
    adapter = load_adapter(program(tmp_path, "import sys\nsys.exit('no weights')"))
    with pytest.raises(ModelError, match="4 programs in a row gave no answer.*no weights"):
        answers(adapter, [request(str(n)) for n in range(8)])


def test_what_a_killed_program_started_is_killed_too(tmp_path: Path) -> None:
    child = tmp_path / "child"
    source = f"import subprocess, time\np = subprocess.Popen(['sleep', '600'])\nopen({str(child)!r}, 'w').write(str(p.pid))\ntime.sleep(600)"
    adapter = load_adapter(program(tmp_path, source), {"timeout": 3})
    assert answers(adapter, [request("a")])["a"].error is not None
    for _ in range(50):
        if not Path(f"/proc/{child.read_text()}").exists() or _state(int(child.read_text())) == "Z":
            return
        time.sleep(0.05)
    os.kill(int(child.read_text()), 9)
    pytest.fail("the child outlived its program")


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("noise", "wrote 'Loading checkpoint shards: 100%', no JSON object with an id.*everything else to stderr"),
        ("stranger", "wrote an answer to 'someone else', which was not asked"),
        ("wrong", "the answer to 'a' needs a text or an error, both strings"),
    ],
)
def test_a_program_that_breaks_the_contract_is_named(tmp_path: Path, word: str, message: str) -> None:
    adapter = load_adapter(program(tmp_path, LINES))
    with pytest.raises(ModelError, match=message):
        answers(adapter, [request("a", word)])
    adapter.close()


def test_megabytes_pass_both_ways(tmp_path: Path) -> None:
    adapter = load_adapter(program(tmp_path, LINES))
    got = answers(adapter, [request(str(n), "word " * 100_000) for n in range(4)])
    adapter.close()
    assert {len(response.text or "") for response in got.values()} == {500_000}


def test_a_program_keeps_the_contract(tmp_path: Path) -> None:
    adapter = load_adapter(program(tmp_path, LINES))
    report = check_adapter(adapter)
    adapter.close()
    assert report.passed, str(report)


def test_the_example_is_a_whole_program() -> None:
    example = Path(__file__).parents[3] / "examples" / "answer_lines.py"
    adapter = load_adapter(f"script:{shlex.join([sys.executable, str(example)])}")
    got = answers(adapter, [request("a"), request("b", "From what view?")])
    adapter.close()
    assert (got["a"].text, got["b"].text) == ("The lungs are clear (1 image).", "PA")


@pytest.mark.parametrize(
    ("spec", "arguments", "kind", "message"),
    [
        ("script:no-such-program-here", {}, ModelError, "no such program"),
        ("script:echo 'open", {}, UsageError, "cannot be split"),
        ("script:true", {"contract": "lies"}, UsageError, "choose from: lines, rexrank"),
        ("script:true", {"section": "history"}, UsageError, "choose all or findings"),
    ],
)
def test_wrong_arguments_are_named(spec: str, arguments: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        load_adapter(spec, arguments)


def test_editing_the_program_changes_the_fingerprint(tmp_path: Path) -> None:
    before = load_adapter(program(tmp_path, LINES)).fingerprint()
    assert load_adapter(program(tmp_path, LINES)).fingerprint() == before
    assert load_adapter(program(tmp_path, LINES + "#")).fingerprint() != before
    assert load_adapter(program(tmp_path, LINES), {"revision": 2}).fingerprint() != before


def test_rexranks_contract(tmp_path: Path) -> None:
    adapter = load_adapter(program(tmp_path, REXRANK), {"contract": "rexrank"})
    asked = [request(f"r{n}", image=IMAGES[n]) for n in range(3)]
    asked += [request("view", task="view_classification"), request("blind", image=None)]
    got = answers(adapter, asked)
    for n in range(3):
        size = IMAGES[n].stat().st_size
        assert got[f"r{n}"].text == f"Findings: {size} bytes. Impression: Indication: None. Comparison: None."
    assert got["view"].error is not None
    assert "report generation only" in got["view"].error.message
    assert got["blind"].error is not None
    assert got["blind"].error.kind == "image"


@pytest.mark.parametrize(
    ("fault", "kinds", "message"),
    [("crash", [None, "adapter", "adapter"], "no memory"), ("hang", ["timeout"] * 3, "no end within 1.5 s")],
)
def test_a_rexrank_program_that_fails_keeps_what_it_saved(
    tmp_path: Path, fault: str, kinds: list[str | None], message: str
) -> None:
    spec = program(tmp_path, REXRANK, "--fault", fault)
    adapter = load_adapter(spec, {"contract": "rexrank", "timeout": 1.5, "section": "findings"})
    got = answers(adapter, [request(f"r{n}") for n in range(3)])
    found = [got[f"r{n}"].error for n in range(3)]
    assert [error.kind if error else None for error in found] == kinds
    assert found[2] is not None
    assert message in found[2].message
    if fault == "crash":
        assert got["r0"].text == f"{IMAGES[0].stat().st_size} bytes."


def test_a_rexrank_program_that_writes_something_else_is_named(tmp_path: Path) -> None:
    adapter = load_adapter(program(tmp_path, REXRANK, "--fault", "list"), {"contract": "rexrank"})
    with pytest.raises(ModelError, match="the output file holds a list"):
        answers(adapter, [request("a")])


@pytest.mark.parametrize(
    ("text", "findings"),
    [
        ("Findings: Clear lungs. Impression: Normal.", "Clear lungs."),
        ("IMPRESSION: Normal. FINDINGS:  Clear.", "Clear."),
        ("The findings are: none", "The findings are: none"),
        ("Clear lungs.", "Clear lungs."),
    ],
)
def test_findings_are_cut_out_of_a_report_with_headings(text: str, findings: str) -> None:
    assert rexrank.findings_of(text) == findings

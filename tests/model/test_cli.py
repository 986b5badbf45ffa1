from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from radialog_instruct.assets import demo_dir
from radialog_instruct.terminal import run_app
from radialog_model.cli import app
from radialog_model.generate import Answer, Answerer, Question, Sampling, prompt_text

IMAGE = min((demo_dir() / "images").glob("*.jpg"))
COMMANDS = [command.name or command.callback.__name__ for command in app.registered_commands]


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in COMMANDS)])
def test_help_imports_no_engine(arguments: list[str]) -> None:
    code = (
        "import sys; from radialog_model.cli import app; from radialog_instruct.terminal import run_app;"
        f"run_app(app, 'radialog-model', {arguments!r});"
        "heavy = {'torch', 'transformers', 'vllm', 'starlette', 'uvicorn', 'pandas', 'radialog_bench'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "Usage" in result.stdout


@pytest.mark.parametrize(
    ("findings", "expected"), [("edema", "Findings: edema."), ("off", None), ("predicted", "Findings: ")]
)
def test_findings_stand_before_whatever_is_asked(
    weights: Path, monkeypatch: pytest.MonkeyPatch, findings: str, expected: str | None
) -> None:
    asked = []

    def answer(self: Answerer, questions: list[Question], sampling: Sampling) -> list[Answer]:
        asked.extend(prompt_text(self.checkpoint, question) for question in questions)
        return [Answer("", 0)]

    monkeypatch.setattr(Answerer, "answer", answer)
    arguments = ["generate", "--weights", str(weights), "--image", str(IMAGE), "--prompt", "Is there edema?"]
    assert run_app(app, "radialog-model", [*arguments, "--findings", findings]) == 0
    (prompt,) = asked
    assert "Is there edema?" in prompt
    assert ("Findings" in prompt) == (expected is not None)
    assert expected is None or expected in prompt


def test_a_prompt_that_does_not_fit_is_said_and_counted(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["generate", "--weights", str(weights), "--image", str(IMAGE), "--prompt", "word " * 3000]
    assert run_app(app, "radialog-model", arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert f"radialog-model: {IMAGE}: the prompt has" in err

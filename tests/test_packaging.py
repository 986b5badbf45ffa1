"""The wheel, installed into an environment of its own: templates, demo data and weights must be found from anywhere."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

pytestmark = pytest.mark.packaging
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel and install it alone; its dependencies are read from this environment. Returns the bin folder."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = folder.glob("radialog-*.whl")
    venv.create(folder / "env", with_pip=False)
    python = folder / "env" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", f"--python={python}", "install", "--no-deps", "--no-index", "-q", str(wheel)]
    subprocess.run(pip, check=True, capture_output=True)
    return python.parent


def run(installed: Path, folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    # A PYTHONPATH entry does not execute .pth files, so an editable install beside the dependencies stays out of reach.
    dependencies = os.environ | {"PYTHONPATH": sysconfig.get_path("purelib"), "HF_HUB_OFFLINE": "1"}
    program, *arguments = command
    return subprocess.run(
        [str(installed / program), *arguments], cwd=folder, env=dependencies, capture_output=True, text=True
    )


def test_the_packages_come_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    code = "import radialog_instruct.assets as a; print(a.__file__); print(a.templates_dir()); print(a.demo_dir())"
    result = run(installed, tmp_path, "python", "-c", code)
    lines = result.stdout.splitlines()
    assert result.returncode == 0, result.stderr
    assert all(line.startswith(str(installed.parent)) for line in lines), lines


@pytest.mark.parametrize("program", ["radialog-instruct", "radialog-bench", "radialog-model"])
def test_help_works(installed: Path, tmp_path: Path, program: str) -> None:
    result = run(installed, tmp_path, program, "--help")
    assert result.returncode == 0, result.stderr
    assert "Usage" in result.stdout


def test_a_demo_build_runs_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    result = run(installed, tmp_path, "radialog-instruct", "build", "--source", "demo", "--out", "dataset")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "dataset" / "manifest.json").is_file()
    assert list((tmp_path / "dataset").glob("report_generation/train-*.parquet"))


def test_the_demonstration_weights_are_in_the_wheel(installed: Path, tmp_path: Path) -> None:
    code = "import radialog_instruct.assets as a; print(*a.demonstration_weights_dir().glob('*.safetensors'))"
    result = run(installed, tmp_path, "python", "-c", code)
    assert result.returncode == 0, result.stderr
    assert ".safetensors" in result.stdout

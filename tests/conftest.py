"""What all tests share: no network, and the folder of real data where there is one."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("NO_COLOR", "1")

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real data, or skip the test."""
    folder = Path(os.environ.get("RADIALOG_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data not found in {folder}; set RADIALOG_SHARED_DATA")
    return folder


@pytest.fixture(scope="session")
def rad_restruct(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return Rad-ReStruct unpacked, without its answer vectors and report copies."""
    folder = tmp_path_factory.mktemp("rad_restruct")
    with tarfile.open(shared_data / "rad_restruct.tar.xz") as archive:
        members = (m for m in archive if "vectorized_answers" not in m.name and "new_reports" not in m.name)
        archive.extractall(folder, members, filter="data")
    return folder

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from radialog_bench.parquet_source import ParquetReader
from radialog_instruct.cli import app
from radialog_instruct.errors import DataError
from radialog_instruct.records import Terms
from radialog_instruct.sources import open_source
from radialog_instruct.terminal import run_app


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built") / "dataset"
    arguments = ("build", "--source", "demo", "--mixture", "full", "--out", str(folder))
    assert run_app(app, "radialog-instruct", arguments) == 0
    return folder


def test_a_built_dataset_holds_the_studies_it_was_built_from(dataset: Path) -> None:
    reader = ParquetReader(dataset)
    known = {study.study_id: study for study in reader.studies()}
    assert (reader.name, reader.terms) == ("demo", Terms.OPEN)
    originals = list(open_source("demo").studies())
    assert list(known) == sorted(study.study_id for study in originals)
    for study in originals:
        again = known[study.study_id]
        assert (again.subject_id, again.split, again.images) == (study.subject_id, study.split, study.images)
        assert again.sections.findings == study.sections.findings
        assert again.sections.impression == study.sections.impression
        assert again.labels["rules"] == study.labels["rules"]
    assert reader.notes["Rad-ReStruct row; its evaluation reads the authors' folder"] > 0


def test_corrections_do_not_pass_their_draft_off_as_the_report(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "correction").mkdir()
    for path in (dataset / "correction").glob("test-*.parquet"):
        (tmp_path / "correction" / path.name).write_bytes(path.read_bytes())
    assert all(study.sections.findings is None for study in ParquetReader(tmp_path).studies())


def test_what_is_no_dataset_is_named(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        ParquetReader(tmp_path / "none")
    with pytest.raises(DataError, match="no dataset here"):
        ParquetReader(tmp_path)
    (tmp_path / "impression").mkdir()
    source = next((dataset / "impression").glob("test-*.parquet"))
    pq.write_table(pq.read_table(source).drop_columns(["context"]), tmp_path / "impression" / "test.parquet")
    with pytest.raises(DataError, match="column 'context' is missing"):
        ParquetReader(tmp_path)
    (tmp_path / "impression" / "test.parquet").write_bytes(source.read_bytes()[:100])
    with pytest.raises(DataError, match=r"test\.parquet: cannot read"):
        ParquetReader(tmp_path)

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from radialog_instruct.errors import DataError
from radialog_model.data.tables import ArrayTable


def test_records_come_back_and_a_second_writer_goes_on(tmp_path: Path) -> None:
    values = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)
    table = ArrayTable(tmp_path, (2, 3), "uint8", "pixels")
    table.append(["a", "b"], values[:2])
    again = ArrayTable(tmp_path, (2, 3), "uint8", "pixels")
    again.append(["c d\n", "é"], values[2:])
    table.refresh()
    assert len(table) == 4
    assert [np.array(table[name]).tolist() for name in ("a", "b", "c d\n", "é")] == values.tolist()
    assert "x" not in table
    with pytest.raises(KeyError):
        table["x"]


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_killed_writer_leaves_no_half_record(tmp_path: Path, cut: int) -> None:
    table = ArrayTable(tmp_path, (4,), "float32", "x")
    table.append(["a"], np.ones((1, 4)))
    table.append(["b"], np.full((1, 4), 2.0))
    index = tmp_path / "index.jsonl"
    index.write_bytes(index.read_bytes()[:-cut])  # the second name cut short
    with (tmp_path / "data.bin").open("ab") as data:
        data.write(b"left behind")
    mended = ArrayTable(tmp_path, (4,), "float32", "x")
    assert len(mended) == 1
    mended.append(["c"], np.full((1, 4), 3.0))
    fresh = ArrayTable(tmp_path, (4,), "float32", "x")
    assert np.array(fresh["a"]).tolist() == [1.0] * 4
    assert np.array(fresh["c"]).tolist() == [3.0] * 4


def test_a_table_of_other_arrays_is_refused(tmp_path: Path) -> None:
    ArrayTable(tmp_path, (4,), "float32", "features of one tower")
    for shape, content in (((5,), "features of one tower"), ((4,), "features of another")):
        with pytest.raises(DataError, match="other arrays"):
            ArrayTable(tmp_path, shape, "float32", content)

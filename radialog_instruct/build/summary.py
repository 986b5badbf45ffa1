"""The counts of a finished build, as a table or as JSON."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from radialog_instruct.build.manifest import MANIFEST_NAME, Manifest
from radialog_instruct.records import Split


def print_summary(manifest: Manifest, out: Path, *, as_json: bool) -> None:
    """Print what was built and everything that was left out, with its reason.

    Args:
        manifest: The build's manifest.
        out: The dataset's folder.
        as_json: Print one JSON object instead of tables.
    """
    if as_json:
        print(json.dumps(_as_json(manifest, out), indent=2))
        return
    console = Console(highlight=False)
    console.print(_rows_table(manifest))
    left_out = [
        *(("source", reason, n) for reason, n in manifest.rejected.items()),
        *(("images", reason, n) for reason, n in manifest.images_left_out.items()),
        *((task, reason, n) for task, reasons in manifest.skipped().items() for reason, n in reasons.items()),
    ]
    if left_out:
        table = Table("where", "left out because", "n", title="Left out", title_justify="left")
        table.columns[2].justify = "right"
        for where, reason, n in left_out:
            table.add_row(where, reason, f"{n:,}")
        console.print(table)
    console.print(f"manifest: {out / MANIFEST_NAME}", soft_wrap=True)


def _rows_table(manifest: Manifest) -> Table:
    studies = ", ".join(f"{split} {n:,}" for split, n in manifest.studies.items())
    table = Table("task", *(split.value for split in Split), title=f"Rows (studies: {studies})", title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for task, by_split in manifest.rows().items():
        table.add_row(task, *(f"{by_split.get(split.value, 0):,}" for split in Split))
    return table


def _as_json(manifest: Manifest, out: Path) -> dict[str, object]:
    return {
        "manifest": str(out / MANIFEST_NAME),
        "fingerprint": manifest.fingerprint,
        "studies": manifest.studies,
        "rows": manifest.rows(),
        "skipped": manifest.skipped(),
        "rejected": manifest.rejected,
        "images_left_out": manifest.images_left_out,
    }

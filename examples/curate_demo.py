"""Select the embedded demonstration collection from the open X-rays and write its files.

    python examples/curate_demo.py ../shared/data radialog_instruct/_assets/demo

The folder must hold ``nih_chestxray14``, ``hannover_cxr`` and ``cc0`` with their ``SOURCES.tsv``. What is chosen
depends on ids alone. ``visual_labels.csv``, made by eye, is read and kept.
"""

from __future__ import annotations

import csv
import sys
from collections import Counter
from pathlib import Path

from demo_structured import write_structured_reports
from PIL import Image

from radialog_instruct.assets import demo_dir
from radialog_instruct.findings import FINDINGS, positives
from radialog_instruct.ids import rank
from radialog_instruct.records import Split, Study, View
from radialog_instruct.sources.demo import STUDIES, DemoReader, _Entry
from radialog_instruct.sources.demo_text import compose_report

QUOTA = {Split.TEST: (24, 2, 9), Split.VALIDATION: (10, 1, 4), Split.TRAIN: (26, 2, 9)}
"""Split -> images, at least so many positives of each class the split has, at least so many AP images."""
MOVED_TO_TEST = {"nih-29696"}
"""The one patient with a public fracture label; the test split needs every class."""
LONG_SIDE, QUALITY = 384, 80


def main(source: Path, target: Path) -> None:
    (target / STUDIES).write_text("study_id,subject_id,split,view,present,findings,impression\n")
    reader = DemoReader(source)
    entries = {entry.study_id: entry for entry in reader._open_collection()}
    studies = [study for study in reader.studies() if study.images[0].file is not None]
    chosen = [study for split, quota in QUOTA.items() for study in select(studies, split, *quota)]
    chosen.sort(key=lambda study: study.study_id)
    write_studies(chosen, entries, target)
    write_images(chosen, target)
    write_sources(chosen, source, target)
    write_structured_reports([(s.study_id, split_of(s), positives(s.labels["public"])) for s in chosen], target)
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    print(f"{len(chosen)} studies, {size / 1e6:.2f} MB")
    for split in QUOTA:
        own = [study for study in chosen if split_of(study) is split]
        counts = Counter(name for study in own for name in positives(study.labels["public"]))
        print(split, len(own), {view: sum(s.images[0].view is view for s in own) for view in (View.AP, View.PA)})
        print("   ", {name: counts[name] for name in FINDINGS})


def split_of(study: Study) -> Split:
    return Split.TEST if study.subject_id in MOVED_TO_TEST else study.split


def select(studies: list[Study], split: Split, total: int, per_class: int, ap: int) -> list[Study]:
    """Choose the studies with the smallest ranks that fill the quotas, one a patient."""
    pool = sorted((s for s in studies if split_of(s) is split), key=lambda s: rank(0, "demo-select", s.study_id))
    chosen: dict[str, Study] = {}

    def take(wanted: list[Study], n: int) -> None:
        have = sum(1 for study in wanted if chosen.get(study.subject_id) is study)
        for study in wanted:
            if have >= n or len(chosen) >= total:
                return
            if study.subject_id not in chosen:
                chosen[study.subject_id] = study
                have += 1

    rarest_first = sorted(FINDINGS, key=lambda name: sum(name in positives(s.labels["public"]) for s in pool))
    for name in rarest_first:
        take([study for study in pool if name in positives(study.labels["public"])], per_class)
    take([study for study in pool if study.images[0].view is View.AP], ap)
    take(pool, total)
    return list(chosen.values())


def write_studies(chosen: list[Study], entries: dict[str, _Entry], target: Path) -> None:
    with (target / STUDIES).open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(("study_id", "subject_id", "split", "view", "present", "findings", "impression"))
        for study in chosen:
            present = entries[study.study_id].present
            text = compose_report(study.study_id, present)
            view = study.images[0].view
            assert view is not None
            row = (study.study_id, study.subject_id, split_of(study).value, view.value, "|".join(present))
            writer.writerow((*row, text.findings, text.impression))


def write_images(chosen: list[Study], target: Path) -> None:
    folder = target / "images"
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.jpg"):
        old.unlink()
    for study in chosen:
        file = study.images[0].file
        assert file is not None
        with Image.open(file) as image:
            small = image.convert("L")
            small.thumbnail((LONG_SIDE, LONG_SIDE), Image.Resampling.LANCZOS)
            small.save(folder / f"{study.study_id}.jpg", quality=QUALITY, optimize=True)


def write_sources(chosen: list[Study], source: Path, target: Path) -> None:
    rows: dict[str, dict[str, str]] = {}
    for table in source.glob("*/SOURCES.tsv"):
        with table.open(encoding="utf-8", newline="") as handle:
            for row in csv.DictReader(handle, delimiter="\t"):
                rows[f"{table.parent.name}/{row['file']}"] = row
    columns = ("file", "source_repo", "source_path", "commit", "licence", "attribution", "original_size", "note")
    with (target / "SOURCES.tsv").open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, columns, delimiter="\t", lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        for study in chosen:
            row = rows[study.images[0].path]
            note = f"{row['note']}; reduced to {LONG_SIDE} px, JPEG quality {QUALITY}"
            writer.writerow(row | {"file": f"images/{study.study_id}.jpg", "note": note})


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    assert Path(sys.argv[2]).resolve() == demo_dir().resolve(), "the reader looks for visual_labels.csv there"
    main(Path(sys.argv[1]), Path(sys.argv[2]))

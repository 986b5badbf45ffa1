"""Says which source files are there, which are missing, and which public project holds those."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from radialog_instruct.errors import DataError
from radialog_instruct.sources.iu_xray import ANNOTATION, ARCHIVE, PROJECTIONS, REPORTS, XML_FOLDER
from radialog_instruct.sources.mimic_tables import LABEL_TABLES, METADATA_TABLE, SPLIT_TABLE
from radialog_instruct.sources.report_files import REPORTS_ZIP

_JPG = "MIMIC-CXR-JPG (physionet.org/content/mimic-cxr-jpg, credentialed)"
_CXR = "MIMIC-CXR (physionet.org/content/mimic-cxr, credentialed)"
_NLE = "MIMIC-NLE (github.com/maximek3/MIMIC-NLE; run its extractor on your reports)"
_IU = "Open-i / Indiana University (openi.nlm.nih.gov/faq)"
_KAGGLE = "Chest X-rays (Indiana University) on Kaggle"
_R2GEN = "R2Gen's IU-Xray download (annotation.json)"
_RESTRUCT = "Rad-ReStruct (github.com/ChantalMP/Rad-ReStruct)"


@dataclass(frozen=True, slots=True)
class _Wanted:
    source: str
    name: str
    purpose: str
    holder: str
    needed: bool
    present: Callable[[Path], bool]


def _file(name: str) -> Callable[[Path], bool]:
    return lambda root: (root / name).is_file()


def _any(pattern: str) -> Callable[[Path], bool]:
    return lambda root: next(root.glob(pattern), None) is not None


_WANTED = (
    _Wanted("mimic-cxr", SPLIT_TABLE, "official splits", _JPG, True, _file(SPLIT_TABLE)),
    _Wanted("mimic-cxr", METADATA_TABLE, "views", _JPG, True, _file(METADATA_TABLE)),
    _Wanted("mimic-cxr", LABEL_TABLES["chexpert"], "CheXpert labels", _JPG, True, _file(LABEL_TABLES["chexpert"])),
    _Wanted("mimic-cxr", LABEL_TABLES["negbio"], "NegBio labels", _JPG, False, _file(LABEL_TABLES["negbio"])),
    _Wanted(
        "mimic-cxr",
        LABEL_TABLES["radiologist"],
        "radiologist's labels of test studies (2.1.0 only)",
        _JPG,
        False,
        _file(LABEL_TABLES["radiologist"]),
    ),
    _Wanted("mimic-cxr", "files/p1*/**/*.jpg", "images", _JPG, False, _any("files/p1*/p*/s*/*.jpg")),
    _Wanted(
        "mimic-cxr",
        f"{REPORTS_ZIP} or files/p1*/**/*.txt",
        "reports",
        _CXR,
        True,
        lambda root: (root / REPORTS_ZIP).is_file() or _any("files/p1*/p*/s*.txt")(root),
    ),
    *(
        _Wanted("mimic-nle", f"mimic-nle-{name}.json", "explanations", _NLE, False, _file(f"mimic-nle-{name}.json"))
        for name in ("train", "dev", "test")
    ),
    _Wanted(
        "iu-xray",
        f"{ARCHIVE}, {XML_FOLDER}/ or {REPORTS}",
        "reports",
        _IU,
        True,
        lambda root: any((root / name).exists() for name in (ARCHIVE, XML_FOLDER, REPORTS)),
    ),
    _Wanted("iu-xray", PROJECTIONS, "views", _KAGGLE, False, _file(PROJECTIONS)),
    _Wanted("iu-xray", ANNOTATION, "R2Gen's splits", _R2GEN, False, _file(ANNOTATION)),
    _Wanted(
        "iu-xray",
        "images/images_normalized/*.png or NLMCXR_png/*.png",
        "images",
        _KAGGLE,
        False,
        lambda root: _any("images/images_normalized/*.png")(root) or _any("NLMCXR_png/*.png")(root),
    ),
    _Wanted(
        "rad-restruct",
        "data/radrestruct/train_ids.json",
        "structured reports",
        _RESTRUCT,
        False,
        lambda root: (root / "data/radrestruct/train_ids.json").is_file() or (root / "train_ids.json").is_file(),
    ),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One file a source is made of: where it was found, or who holds it."""

    source: str
    name: str
    purpose: str
    needed: bool
    found_in: str | None
    holder: str


def diagnose(roots: list[Path]) -> list[Finding]:
    """Look for the files of every source that any of the folders holds a part of.

    Args:
        roots: Folders.

    Raises:
        DataError: If a folder does not exist, or none holds a file of any source.
    """
    for root in roots:
        if not root.is_dir():
            raise DataError("no such folder", where=str(root), mend="check the path")
    found = {wanted: next((root for root in roots if wanted.present(root)), None) for wanted in _WANTED}
    begun = {wanted.source for wanted, root in found.items() if root is not None}
    if not begun:
        where = ", ".join(str(root) for root in roots)
        mend = "try the folder with the tables, or radialog-instruct synth-mimic"
        raise DataError("no file of MIMIC-CXR, MIMIC-NLE, IU-Xray or Rad-ReStruct here", where=where, mend=mend)
    return [
        Finding(w.source, w.name, w.purpose, w.needed, str(root) if root is not None else None, w.holder)
        for w, root in found.items()
        if w.source in begun
    ]


def print_diagnosis(roots: list[Path], *, as_json: bool) -> None:
    """Print what is there and what is missing.

    Args:
        roots: Folders.
        as_json: Print JSON instead of lines.

    Raises:
        DataError: If a needed file is missing, a folder does not exist, or nothing is there.
    """
    findings = diagnose(roots)
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        _print_lines(findings)
    missing = [finding for finding in findings if finding.needed and finding.found_in is None]
    if missing:
        names = "; ".join(f"{finding.name} from {finding.holder}" for finding in missing)
        raise DataError(f"{len(missing)} needed files are missing", where=missing[0].source, mend=f"fetch {names}")


def _print_lines(findings: list[Finding]) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    source = None
    for finding in findings:
        if finding.source != source:
            source = finding.source
            console.print(f"[bold]{source}[/]")
        state = "[green]found[/]   " if finding.found_in else "[red]missing[/] " if finding.needed else "optional"
        place = f"in {finding.found_in}" if finding.found_in else f"from {finding.holder}"
        console.print(f"  {state} {finding.name} ({finding.purpose}) {place}", soft_wrap=True)

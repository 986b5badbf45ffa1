"""Invented MIMIC-CXR studies: what each has, and the text of its report in the layout of the real files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from textwrap import wrap

from radialog_instruct.annotations.mimic_nle import NLE_FINDINGS
from radialog_instruct.findings import FINDINGS, NO_FINDING, SUPPORT_DEVICES, LabelValue
from radialog_instruct.synth import sentences as bank

_ASKED = tuple(name for name in FINDINGS if name != NO_FINDING)
LAYOUTS = (
    *("both", "impression only", "findings only", "no header", "addendum", "two findings", "misspelt", "joint header"),
    *("view title", "empty findings", "empty", "de-identified"),
)
"""The layouts of report text. The first studies of a tree show each of them once; of the others most have both."""


class Dice:
    """A stream of small choices that depends on a key alone.

    Args:
        key: What the choices are for.
    """

    def __init__(self, key: str) -> None:
        self._key, self._block, self._bytes = key.encode(), 0, iter(b"")

    def roll(self, n: int) -> int:
        """Return an integer in [0, n) for n up to 4096."""
        return int.from_bytes((self._byte(), self._byte()), "big") % n

    def choose(self, options: tuple[str, ...]) -> str:
        """Return one of the options."""
        return options[self.roll(len(options))]

    def _byte(self) -> int:
        for value in self._bytes:
            return value
        self._bytes = iter(blake2b(self._key, digest_size=64, salt=self._block.to_bytes(8, "big")).digest())
        self._block += 1
        return next(self._bytes)


@dataclass(frozen=True, slots=True)
class InventedReport:
    """One report and what is true of it.

    Attributes:
        text: The file's text.
        labels: Finding -> value, for the findings that are mentioned.
        explanation: A sentence of the findings section that explains a finding, and the finding; or None.
    """

    text: str
    labels: dict[str, LabelValue]
    explanation: tuple[str, str] | None


def invent_report(key: str, layout: str) -> InventedReport:
    """Write a report.

    Args:
        key: What makes it differ from others, for example the study's number.
        layout: One of ``LAYOUTS``.
    """
    dice = Dice(f"report|{key}")
    labels = _state(dice)
    findings, explanation = _findings(dice, labels)
    impression = _impression(dice, labels)
    text = "".join(_lay_out(layout, dice, findings, impression))
    has_findings = layout in ("both", "findings only", "addendum", "two findings", "view title", "de-identified")
    return InventedReport(text, {} if layout == "empty" else labels, explanation if has_findings else None)


def _state(dice: Dice) -> dict[str, LabelValue]:
    labels: dict[str, LabelValue] = {}
    if dice.roll(100) < 38:
        labels = dict.fromkeys(("Pneumothorax", "Pleural Effusion", "Consolidation", "Cardiomegaly"), 0)
        if dice.roll(100) < 20:
            labels[SUPPORT_DEVICES] = 1
        return {NO_FINDING: 1, **labels}
    for _ in range(1 + dice.roll(3)):
        labels[dice.choose(_ASKED)] = 1
    uncertain = dice.choose(tuple(bank.UNCERTAIN))
    if dice.roll(100) < 25:
        labels.setdefault(uncertain, -1)
    for _ in range(dice.roll(4)):
        denied = dice.choose(_ASKED)
        if bank.NEGATIVE[denied]:
            labels.setdefault(denied, 0)
    if set(labels) <= {SUPPORT_DEVICES}:
        labels["Lung Opacity"] = 1
    return labels


def _sentence(dice: Dice, pattern: str) -> str:
    if "{" not in pattern:
        return pattern
    degree, side, place = dice.choose(bank.DEGREES), dice.choose(bank.SIDES), dice.choose(bank.PLACES)
    text = pattern.format(degree=degree, side=side, place=place)
    return text[0].upper() + text[1:]


def _findings(dice: Dice, labels: dict[str, LabelValue]) -> tuple[str, tuple[str, str] | None]:
    parts, explanation = [], None
    for name, value in labels.items():
        patterns = {1: bank.POSITIVE, 0: bank.NEGATIVE, -1: bank.UNCERTAIN}[value or 0].get(name, ())
        if patterns:
            parts.append(_sentence(dice, dice.choose(patterns)))
        if value == 1 and explanation is None and name in NLE_FINDINGS and dice.roll(100) < 30:
            explanation = (_explanation(dice, name), name)
            parts.append(explanation[0])
    parts += [_sentence(dice, dice.choose(bank.CLOSING)) for _ in range(1 + dice.roll(2))]
    return " ".join(parts), explanation


def _explanation(dice: Dice, finding: str) -> str:
    text = dice.choose(bank.EXPLANATIONS).format(
        evidence=dice.choose(bank.EVIDENCE),
        degree=dice.choose(bank.DEGREES),
        side=dice.choose(bank.SIDES),
        place=dice.choose(bank.PLACES),
        verb=dice.choose(bank.VERBS),
        finding=finding.lower(),
    )
    return text[0].upper() + text[1:]


def _impression(dice: Dice, labels: dict[str, LabelValue]) -> str:
    positive = [name for name, value in labels.items() if value == 1 and name != NO_FINDING]
    if not positive:
        return dice.choose(("No acute finding in the chest.", "Normal film of the chest.", "Nothing acute."))
    return " ".join(f"{number}. {name}." for number, name in enumerate(positive, start=1))


def _lay_out(layout: str, dice: Dice, findings: str, impression: str) -> Iterator[str]:
    if layout == "empty":
        return
    yield f"{'':33}FINAL REPORT\n"
    if layout == "no header":
        yield f" EXAMINATION:  Film of the chest.\n \n{_body(findings)}"
        return
    if layout == "addendum":
        addendum = "Addendum of the reading radiologist: the line was placed on ___."
        yield f" ADDENDUM  {addendum}\n \n ______________________________________________________________________\n"
        yield f"{'':33}FINAL REPORT\n"
    yield f" EXAMINATION:  CHEST ({dice.choose(('PA AND LAT', 'PORTABLE AP'))})\n \n"
    yield f" INDICATION:  {dice.choose(bank.INDICATIONS)}.\n \n"
    yield f" COMPARISON:  {dice.choose(bank.COMPARISONS)}\n \n"
    if layout == "de-identified":
        findings = f"___ was seen on ___. {findings} Dr. ___ was told at ___."
    header = {"view title": "PA AND LATERAL VIEWS OF THE CHEST", "misspelt": "FINDNGS"}.get(layout, "FINDINGS")
    if layout == "two findings":
        yield " FINDINGS: \n \n"
    if layout == "joint header":
        yield f" FINDINGS AND IMPRESSION:  \n \n{_body(findings)}"
        return
    if layout == "empty findings":
        yield " FINDINGS: \n \n"
    elif layout != "impression only":
        yield f" {header}:  \n \n{_body(findings)}"
    if layout != "findings only":
        name = "IMPRESSON" if layout == "misspelt" else "IMPRESSION"
        yield f" \n {name}:  \n \n{_body(impression)}"


def _body(text: str) -> str:
    return "".join(f" {line}\n" for line in wrap(text, 78))

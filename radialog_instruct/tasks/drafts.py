"""Drafts with errors: what a correction starts from, for people who have no model's drafts yet.

An error is injected as a reader of reports would meet it: sentences that assert a finding are dropped, or a sentence
that asserts one which is not there is added and what denies it is dropped. Which errors is decided by a hash.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from radialog_instruct.context import split_sentences
from radialog_instruct.findings import FINDINGS, NEGATIVE, POSITIVE, SUPPORT_DEVICES, UNCERTAIN, Labels
from radialog_instruct.ids import pick, rank
from radialog_instruct.prompts import PromptLibrary
from radialog_instruct.records import Draft, Study
from radialog_instruct.tasks.replayed import finding_indices

INJECTED = "injected errors"
"""The author of such drafts."""
_BANK = "replay/errors"
_KINDS = ("drop", "add", "both")


@dataclass(frozen=True, slots=True)
class ReportErrors:
    """What is wrong with a draft.

    Attributes:
        missing: Classes it should assert and does not.
        wrong: Classes it asserts and should not.
    """

    missing: tuple[str, ...]
    wrong: tuple[str, ...]

    def __bool__(self) -> bool:
        """Tell whether there is an error."""
        return bool(self.missing or self.wrong)

    @property
    def family(self) -> str:
        """The family of instructions that ask for the correction: ``"add"``, ``"remove"`` or ``"both"``."""
        if self.missing and self.wrong:
            return "both"
        return "add" if self.missing else "remove"


def report_errors(draft: Labels, reference: Labels) -> ReportErrors:
    """Compare the labels of a draft with those of the reference; No Finding is no error of its own.

    Args:
        draft: Labels of the draft; uncertain and blank count as absent, as in the paper's protocol.
        reference: Labels of the reference.
    """
    asserted = [(name, draft[i] == POSITIVE, reference[i] == POSITIVE) for i, name in enumerate(FINDINGS) if i]
    return ReportErrors(
        missing=tuple(name for name, said, true in asserted if true and not said),
        wrong=tuple(name for name, said, true in asserted if said and not true),
    )


def inject_errors(
    study: Study, image_id: str, reference: Labels, label: Callable[[str], Labels], prompts: PromptLibrary, seed: int
) -> Draft | None:
    """Write a draft with one or two errors from a report, or return None where the report offers none.

    Args:
        study: The study; its findings section is what errors are put into.
        image_id: Drafts of different images have different errors.
        reference: Labels of the study.
        label: Reads findings in a text.
        prompts: Templates with ``replay/errors``.
        seed: Seed of the choice.
    """
    sentences = list(split_sentences(study.sections.findings or ""))
    key = "draft", study.source, study.study_id, image_id
    kind = _KINDS[pick(len(_KINDS), seed, *key, "kind")]
    changed = list(sentences)
    if kind in ("drop", "both"):
        changed = _dropped(changed, reference, label, lambda name: rank(seed, *key, "drop", name))
    if kind in ("add", "both") or changed == sentences:
        changed = _added(changed, reference, label, prompts, lambda name: rank(seed, *key, "add", name))
    if changed == sentences or not changed:
        return None
    text = " ".join(changed)
    return Draft(image_id or None, text, label(text), INJECTED)


def _dropped(
    sentences: list[str], reference: Labels, label: Callable[[str], Labels], order: Callable[[str], int]
) -> list[str]:
    """Drop what asserts one class; nothing where no class can go without emptying the report."""
    labels = [label(sentence) for sentence in sentences]
    candidates = [i for i, value in enumerate(reference) if i and value == POSITIVE]
    for index in sorted(candidates, key=lambda i: order(FINDINGS[i])):
        kept = [s for s, values in zip(sentences, labels, strict=True) if values[index] not in (POSITIVE, UNCERTAIN)]
        if 0 < len(kept) < len(sentences):
            return kept
    return sentences


def _added(
    sentences: list[str],
    reference: Labels,
    label: Callable[[str], Labels],
    prompts: PromptLibrary,
    order: Callable[[str], int],
) -> list[str]:
    """Assert one class that is not there, in place of what denies it."""
    device = FINDINGS.index(SUPPORT_DEVICES)
    candidates = [i for i in (*finding_indices(), device) if reference[i] not in (POSITIVE, UNCERTAIN)]
    if not candidates:
        return sentences
    index = min(candidates, key=lambda i: order(FINDINGS[i]))
    name = FINDINGS[index].lower().replace(" ", "_")
    wordings = [block for block in prompts.blocks(_BANK) if block.startswith(f"{name}_v")]
    sentence = prompts.render(_BANK, wordings[order(f"{name} wording") % len(wordings)])
    first = next((i for i, s in enumerate(sentences) if label(s)[index] == NEGATIVE), None)
    kept = [s for s in sentences if label(s)[index] != NEGATIVE]
    place = min(first, len(kept)) if first is not None else order(f"{name} place") % (len(kept) + 1)
    return [*kept[:place], sentence, *kept[place:]]

"""Findings QA in its two modes: list all findings, or answer yes or no for one of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from radialog_instruct.findings import FINDINGS, NO_FINDING, POSITIVE, UNCERTAIN, findings_text, positives
from radialog_instruct.ids import ranks
from radialog_instruct.records import Sample, Split, Study, TargetSource
from radialog_instruct.tasks.base import Skip, Slot, Task
from radialog_instruct.tasks.selection import balanced, water_fill

ASKED_FINDINGS = tuple(name for name in FINDINGS if name != NO_FINDING)
"""The classes of binary questions; "No Finding" is derived from the other 13 and never asked."""
_ASKED = tuple((FINDINGS.index(name), name, f"{name}|yes", f"{name}|no") for name in ASKED_FINDINGS)
_UNCERTAIN = Skip("uncertain label")


class _FindingsQA(Task):
    """What both modes share: they need labels and a report."""

    target_source = TargetSource.LABEL

    def missing(self, study: Study) -> Skip | None:
        """Return why a study cannot be asked about, or None."""
        if study.sections.findings is None:
            return Skip("no findings section")
        return Skip("no labels") if self.labels(study) is None else None


class FindingsQAComplete(_FindingsQA):
    """List every finding of the study.

    Input: the image, and the reference findings as turn 1.
    Output: the positive classes as a lower-case comma list, or "no common findings": never an empty answer.
    Source: the paper, appendix C.1; labels by the build's labeler.
    """

    name = "findings_qa_complete"
    legacy_code = "CPaQA"
    template = "findings_qa_complete"
    answer_may_stand_in = frozenset({"report"})

    def slots(self, study: Study) -> Iterator[Slot | Skip]:
        """Yield one slot an image, or a text-only one for a study without images."""
        missing = self.missing(study)
        if missing is not None:
            yield missing
            return
        for image in self.images_or_text_only(study):
            yield Slot(image, rank=self.rank(study, image))

    def make(self, study: Study, slot: Slot, split: Split) -> Sample:
        """Make the dialog about the report."""
        answer = findings_text(positives(self.labels(study) or ()))
        history = self.report_turns(study)
        return self.sample(study, slot, split, answer, history=history, report_turn=1, labeler=self.context.labeler)


class FindingsQABinary(_FindingsQA):
    """Answer yes or no for one finding.

    Input: the image, and the reference findings as turn 1.
    Output: "yes" for a positive class, "no" for a negative or unmentioned one. An uncertain class is not asked: the
    released dataset turned it into "no".
    Share: ``yes_fraction`` of the questions of each class and split are answered yes, as exactly as the data allow; a
    share of the images bounds the number of questions, spread evenly over the 13 classes.
    Source: the paper, appendix C.1; labels by the build's labeler.
    """

    name = "findings_qa_binary"
    legacy_code = "CPbQA"
    template = "findings_qa_binary"
    answer_may_stand_in = frozenset({"report", "instruction"})  # "yes" and "no" are words like others

    @property
    def is_thinned(self) -> bool:
        """Whether some slots may be dropped: always, for the balance."""
        return True

    def allocate(self, counts: Mapping[str, int], units: int) -> dict[str, int]:
        """Balance yes and no in each class, within the quota."""
        quota = round(self.mix.share * units) if self.mix.share is not None else None
        most = {
            name: balanced(counts.get(yes, 0), counts.get(no, 0), self.mix.yes_fraction) for _, name, yes, no in _ASKED
        }
        shares = water_fill({name: sum(pair) for name, pair in most.items()}, quota) if quota is not None else {}
        kept = {}
        for _, name, yes, no in _ASKED:
            pair = balanced(*most[name], self.mix.yes_fraction, shares.get(name))
            kept[yes], kept[no] = pair
        return kept

    def slots(self, study: Study) -> Iterator[Slot | Skip]:
        """Yield up to 13 questions an image, or for the text alone of a study without images."""
        missing = self.missing(study)
        labels = self.labels(study)
        if missing is not None or labels is None:
            yield missing or Skip("no labels")
            return
        for image in self.images_or_text_only(study):
            image_id = image.image_id if image is not None else ""
            key = self.name, study.source, study.study_id, image_id, "select"
            for rank, (index, name, yes, no) in zip(ranks(len(_ASKED), self.context.seed, *key), _ASKED, strict=True):
                value = labels[index]
                if value == UNCERTAIN:
                    yield _UNCERTAIN
                else:
                    yield Slot(image, name, yes if value == POSITIVE else no, rank)

    def make(self, study: Study, slot: Slot, split: Split) -> Sample:
        """Make the dialog about the report."""
        answer = "yes" if slot.stratum.endswith("|yes") else "no"
        return self.sample(
            study,
            slot,
            split,
            answer,
            history=self.report_turns(study),
            report_turn=1,
            labeler=self.context.labeler,
            finding=slot.key.lower(),
        )

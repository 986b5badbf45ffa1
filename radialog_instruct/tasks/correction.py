"""Correction: a report with errors and what is wrong with it in, the corrected report out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from radialog_instruct.findings import FINDINGS, POSITIVE, findings_text, positives
from radialog_instruct.ids import pick
from radialog_instruct.prompts import CONSTANTS
from radialog_instruct.records import Draft, Image, Sample, Split, Study, Turn
from radialog_instruct.replay.validate import Verdict, overlap
from radialog_instruct.tasks.base import Skip, Slot
from radialog_instruct.tasks.drafts import INJECTED, ReportErrors, inject_errors, report_errors
from radialog_instruct.tasks.explanation import join_names
from radialog_instruct.tasks.replayed import ReplayTask

_KEPT = 0.35
"""Less than this share of the draft's three-word runs in the corrected report is a new report, not a corrected one."""


class Correction(ReplayTask):
    """Correct a report that misses findings or asserts wrong ones.

    Input: the image, and a report with errors as turn 1: a model's draft, or the reference with injected errors. The
    findings text of turn 1 is the draft's own, as it is when a model wrote both.
    Output: the corrected report, written by an LLM that is asked with one fixed wording; the row itself asks with one
    of ten variants of its family (add, remove, both).
    Accepted: the missing classes are asserted, the wrong ones are not, all others are as before, and most of the
    draft's words are still there.
    Source: the paper, appendix C.1.
    """

    name = "correction"
    legacy_code = "CO"
    template = "correction"
    min_words, max_words, max_tokens = 4, 320, 384

    def slots(self, study: Study) -> Iterator[Slot | Skip]:
        """Yield one slot a draft with errors; a draft without one gives none."""
        missing = self.missing_report(study) or (Skip("no labels") if self.labels(study) is None else None)
        if missing is not None:
            yield missing
            return
        for image in self.images_or_text_only(study):
            draft = self._draft(study, image)
            if draft is None:
                yield Skip("no draft" if self.context.run_drafts else "no error could be injected")
            elif not self.errors(study, draft):
                yield Skip("the draft has no error")
            else:
                yield Slot(image, rank=self.rank(study, image), content=draft)

    def make(self, study: Study, slot: Slot, split: Split) -> Sample:
        """Make the dialog about the draft, with the request for its correction."""
        draft = slot.content
        assert isinstance(draft, Draft)
        errors = self.errors(study, draft)
        image_id = slot.image.image_id if slot.image is not None else ""
        family = self._variants_of(errors.family)
        key = self.name, study.source, study.study_id, image_id, slot.key, "variant"
        missing = join_names(errors.missing) if errors.missing else ""
        wrong = join_names(errors.wrong) if errors.wrong else ""
        sample = self.sample(
            study,
            slot,
            split,
            None,
            history=(Turn("user", self.context.prompts.render(CONSTANTS, "report")), Turn("assistant", draft.text)),
            report_turn=1,
            labeler=self.context.labeler,
            variant=family[pick(len(family), self.context.seed, *key)],
            missing=missing,
            wrong=wrong,
        )
        flags = ("injected draft",) if draft.model == INJECTED else ()
        sample = replace(sample, findings_text=findings_text(positives(draft.labels)), flags=flags)
        return self.asked(sample, report=draft.text, missing=missing, wrong=wrong)

    def accept(self, text: str, sample: Sample) -> Verdict:
        """Judge a corrected report by what the labeler reads in it."""
        draft = sample.turns[1].content
        verdict = self.check(text, sample)
        if " ".join(verdict.text.split()).casefold() == " ".join(draft.split()).casefold():
            return verdict.because("the report is unchanged")
        before, after = self.judged(draft), self.judged(verdict.text)
        errors = report_errors(before, self.labels(sample.study) or before)
        for index, name in enumerate(FINDINGS):
            if not index:
                continue
            was, now = before[index] == POSITIVE, after[index] == POSITIVE
            if name in errors.missing and not now:
                verdict = verdict.because("a missing finding is still missing")
            elif name in errors.wrong and now:
                verdict = verdict.because("a wrong finding is still there")
            elif name not in (*errors.missing, *errors.wrong) and was is not now:
                verdict = verdict.because("another finding was lost" if was else "another finding was added")
        if overlap(draft, verdict.text, 3) < _KEPT:
            verdict = verdict.because("rewrites the report")
        return Verdict(verdict.text, tuple(dict.fromkeys(verdict.reasons)), verdict.flags)

    def errors(self, study: Study, draft: Draft) -> ReportErrors:
        """Return what is wrong with a draft of a study."""
        return report_errors(draft.labels, self.labels(study) or draft.labels)

    def _draft(self, study: Study, image: Image | None) -> Draft | None:
        image_id = image.image_id if image is not None else None
        if self.context.run_drafts:
            return next((draft for draft in study.drafts if draft.image_id in (image_id, None)), None)
        labels = self.labels(study)
        assert labels is not None
        return inject_errors(study, image_id or "", labels, self.judged, self.context.prompts, self.context.seed)

    def _variants_of(self, family: str) -> list[str]:
        return [name for name in self.context.prompts.blocks(self._file) if name.startswith(f"{family}_v")]

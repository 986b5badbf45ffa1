"""Correction: the model's own report, what is wrong with it, and its corrected report."""

from __future__ import annotations

from collections.abc import Sequence

from radialog_bench.chat import Message
from radialog_bench.dialog import All, Ask, AskFailed, Dialog, Label
from radialog_bench.evaluations.base import Conversation, EvalSample, ReportDialog
from radialog_bench.evaluations.texts import score_findings, score_texts
from radialog_bench.metrics.clinical import change_in_macro_f1
from radialog_bench.sheet import Sheet
from radialog_instruct.prompts import CONSTANTS, default_prompts
from radialog_instruct.tasks.drafts import ReportErrors, report_errors
from radialog_instruct.tasks.explanation import join_names

DRAFT, CORRECTED = "draft", "corrected"
UNCHANGED = "draft without an error, kept as it is"


class Correction(ReportDialog):
    """Correct one's own report for each frontal image of the studies with a findings section.

    Dialog: the report prompt; the labeler reads the report and the reference; one request names the classes that are
    missing and those that are wrong, No Finding excluded. A report without an error is kept as it is.
    Reference: the findings section.
    Metrics: the text metrics and CE of the first and of the corrected report, and the change of CE, where a failed
    correction changes nothing. Source: the paper, section 4.
    """

    name = "correction"
    version = 1
    headline = "delta_ce_macro_f1"
    needs_labeler = True

    def dialog(self, sample: EvalSample) -> Dialog[Conversation]:
        """Ask for a report, label it, and ask for its correction where it has errors."""
        request = self.request(sample)
        draft = yield Ask(request)
        turns = (*request.messages, Message("assistant", draft.text))
        said, true = yield All(Label(draft.text), Label(sample.reference))
        errors = report_errors(said, true)
        if not errors:
            return Conversation(draft.text, turns, {DRAFT: draft.text, CORRECTED: draft.text})
        asked = self.question(sample, self.name, "correction", correction_text(errors), turns, "correct")
        try:
            corrected = yield Ask(asked)
        except AskFailed as failed:
            parts = {DRAFT: draft.text, CORRECTED: None}
            return Conversation("", asked.messages, parts, (failed.failure,))
        turns = (*asked.messages, Message("assistant", corrected.text))
        return Conversation(corrected.text, turns, {DRAFT: draft.text, CORRECTED: corrected.text})

    def score(self, samples: Sequence[EvalSample], conversations: Sequence[Conversation], sheet: Sheet) -> None:
        """Score the reports before and after."""
        references = [sample.reference for sample in samples]
        drafts = [conversation.parts.get(DRAFT) or "" for conversation in conversations]
        corrected = [conversation.parts.get(CORRECTED) or "" for conversation in conversations]
        no_draft = sum(DRAFT not in conversation.parts for conversation in conversations)
        score_texts(sheet, drafts, references, "initial_", n_error=no_draft)
        before = score_findings(sheet, drafts, references, "initial_", n_error=no_draft)
        score_texts(sheet, corrected, references, "corrected_")
        after = score_findings(sheet, corrected, references, "corrected_")
        change = change_in_macro_f1(sheet.settings.labeler.signature)
        if before is None or after is None:
            sheet.unavailable([change], sheet.settings.labeler.reason)
            return
        # A correction that failed has changed nothing: an empty report would seem better than one with wrong findings.
        failed = [conversation.parts.get(CORRECTED) is None for conversation in conversations]
        final = [said if lost else now for said, now, lost in zip(before[0], after[0], failed, strict=True)]
        truths = [(truth, truth) for truth in after[1]]
        sheet.add(change, list(zip(before[0], final, strict=True)), truths, ceiling=False)
        kept = sum(len(conversation.turns) == 2 and not conversation.failures for conversation in conversations)
        sheet.counts.update({UNCHANGED: kept} if kept else {})


def correction_text(errors: ReportErrors) -> str:
    """Return the released request for a correction.

    Args:
        errors: What is missing and what is wrong.
    """
    names = {
        "missing": join_names(errors.missing) if errors.missing else "",
        "wrong": join_names(errors.wrong) if errors.wrong else "",
    }
    wanted = {"add": ("missing",), "remove": ("wrong",), "both": ("missing", "wrong")}[errors.family]
    values = {name: names[name] for name in wanted}
    return default_prompts().render(CONSTANTS, f"correction_{errors.family}", **values)

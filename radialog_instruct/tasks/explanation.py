"""Natural language explanation: which sentence of the report speaks for a finding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from radialog_instruct.records import Explanation as Sentence
from radialog_instruct.records import Sample, Split, Study, TargetSource
from radialog_instruct.tasks.base import Skip, Slot, Task


class Explanation(Task):
    """Say what in the report speaks for a finding.

    Input: the image, and the reference findings as turn 1.
    Output: the explanation of MIMIC-NLE, where its text occurs in the findings section, as the paper's code requires.
    Source: the paper, appendix C.1; Kayser et al., 2022.
    """

    name = "explanation"
    legacy_code = "RE"
    template = "explanation"
    target_source = TargetSource.NLE
    follows = "mimic-nle"
    answer_may_stand_in = frozenset({"report"})

    def slots(self, study: Study) -> Iterator[Slot | Skip]:
        """Yield one slot an explanation and image."""
        findings = (study.sections.findings or "").casefold()
        for sentence in study.explanations:
            if sentence.text.casefold() not in findings:
                yield Skip("the explanation is not in the findings section")
                continue
            for image in self.images_or_text_only(study):
                yield Slot(
                    image, sentence.sentence_id, rank=self.rank(study, image, sentence.sentence_id), content=sentence
                )

    def make(self, study: Study, slot: Slot, split: Split) -> Sample:
        """Make the dialog about the report."""
        sentence = slot.content
        assert isinstance(sentence, Sentence)
        finding = join_names(sentence.findings)
        history = self.report_turns(study)
        return self.sample(study, slot, split, sentence.text, history=history, report_turn=1, finding=finding)


def join_names(names: Sequence[str]) -> str:
    """Join names in lower case with commas and a final "and"."""
    *most, last = (name.lower() for name in names)
    return f"{', '.join(most)} and {last}" if most else last

"""Region QA: a question about one region of the chest, answered from the report."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from radialog_instruct.findings import NO_FINDING, POSITIVE, UNCERTAIN, Labels, index_of
from radialog_instruct.ids import pick
from radialog_instruct.records import Sample, Split, Study
from radialog_instruct.replay.validate import Verdict
from radialog_instruct.tasks.base import Skip, Slot
from radialog_instruct.tasks.replayed import ReplayTask


@dataclass(frozen=True)
class Region:
    """A region that is asked about.

    Attributes:
        name: As it stands in the question.
        plural: Whether the name is a plural.
        findings: The classes that make it abnormal.
    """

    name: str
    plural: bool
    findings: tuple[str, ...]


REGIONS: tuple[Region, ...] = (
    Region("heart", plural=False, findings=("Cardiomegaly",)),
    Region("mediastinum", plural=False, findings=("Enlarged Cardiomediastinum",)),
    Region(
        "lungs",
        plural=True,
        findings=("Lung Opacity", "Lung Lesion", "Edema", "Consolidation", "Pneumonia", "Atelectasis"),
    ),
    Region("pleural space", plural=False, findings=("Pneumothorax", "Pleural Effusion", "Pleural Other")),
    Region("osseous structures", plural=True, findings=("Fracture",)),
)
_BY_NAME = {region.name: region for region in REGIONS}
_ANSWER = re.compile(r"\W*(yes|no)\b", re.IGNORECASE)


class RegionQA(ReplayTask):
    """Say whether a region of the chest is healthy, or abnormal, and why.

    Input: the image, and the reference findings as turn 1.
    Output: yes or no and a reason, written by an LLM from the report.
    Accepted: the yes or no agrees with the labels. A positive class of the region makes it abnormal; a study labelled
    "No Finding" makes every region healthy; where labels say neither, any answer stands and is flagged ``unchecked``.
    Source: the paper, appendix C.1; the regions are ours.
    """

    name = "region_qa"
    legacy_code = "RQA"
    template = "region_qa"
    min_words, max_words, max_tokens = 3, 80, 112
    regex = r"(Yes|No)[,.] [^\n]+"
    answer_may_stand_in = frozenset({"report", "instruction"})

    def slots(self, study: Study) -> Iterator[Slot | Skip]:
        """Yield one slot an image: a region chosen by hash."""
        missing = self.missing_report(study) or (Skip("no labels") if self.labels(study) is None else None)
        if missing is not None:
            yield missing
            return
        for image in self.images_or_text_only(study):
            image_id = image.image_id if image is not None else ""
            key = self.name, study.source, study.study_id, image_id, "region"
            region = REGIONS[pick(len(REGIONS), self.context.seed, *key)]
            yield Slot(image, region.name, rank=self.rank(study, image))

    def make(self, study: Study, slot: Slot, split: Split) -> Sample:
        """Make the dialog about the report, with the request for its answer."""
        region = _BY_NAME[slot.key]
        return self.about_report(study, slot, split, region=region.name, plural=region.plural)

    def accept(self, text: str, sample: Sample) -> Verdict:
        """Judge an answer."""
        verdict = self.check(text, sample)
        found = _ANSWER.match(verdict.text)
        if found is None:
            return verdict.because("neither yes nor no")
        says_yes = found[1].lower() == "yes"
        abnormal = is_abnormal(_BY_NAME[sample.slot], self.labels(sample.study) or ())
        if abnormal is None:
            verdict = verdict.noting("unchecked")
        elif says_yes is (abnormal is self.asks_for_health(sample.template.template_id)):
            verdict = verdict.because("disagrees with the labels")
        return verdict.because(*self.contradictions(verdict.text, sample.study.sections.findings or ""))

    def asks_for_health(self, template_id: str) -> bool:
        """Tell whether a variant asks if a region is healthy, so that "no" means it is abnormal.

        Args:
            template_id: For example ``"region_qa/v01"``; the template's block ``asks_for_health`` lists such variants.
        """
        variants = self.context.prompts.render("instruct/region_qa", "asks_for_health").split()
        return template_id.rpartition("/")[2] in variants


def is_abnormal(region: Region, labels: Labels) -> bool | None:
    """Return what labels say of a region, or None where they do not say.

    Args:
        region: The region.
        labels: The study's labels.
    """
    if not labels:
        return None
    values = [labels[index_of(name)] for name in region.findings]
    if POSITIVE in values:
        return True
    if UNCERTAIN in values:
        return None
    return False if labels[index_of(NO_FINDING)] == POSITIVE else None

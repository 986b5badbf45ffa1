"""The first pass over a source: what must be known of all studies before the first row is written."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from hashlib import sha256

from radialog_instruct.config import BuildConfig, ImagePolicy
from radialog_instruct.errors import DataError, UsageError
from radialog_instruct.findings import FINDINGS, POSITIVE, UNCERTAIN
from radialog_instruct.records import Study
from radialog_instruct.sources import Reader
from radialog_instruct.sources.images import check_image
from radialog_instruct.tasks.balance import Balance, BalanceCounter, question_rank
from radialog_instruct.tasks.base import images_or_text_only
from radialog_instruct.tasks.findings_qa import ASKED_FINDINGS


@dataclass(frozen=True)
class Plan:
    """What the first pass found.

    Attributes:
        studies: Studies by split.
        rejected: What the reader rejected, by reason.
        unusable_images: Images that the image policy leaves out -> reason.
        balance: Which binary questions are kept.
    """

    studies: dict[str, int]
    rejected: dict[str, int]
    unusable_images: dict[str, str]
    balance: Balance

    def images_left_out(self) -> dict[str, int]:
        """Return the number of images left out, by reason."""
        return dict(sorted(Counter(self.unusable_images.values()).items()))

    def images_digest(self) -> str:
        """Return a hash of the images left out; it is part of the build's fingerprint."""
        return sha256(repr(sorted(self.unusable_images)).encode()).hexdigest()

    def usable(self, study: Study, policy: ImagePolicy) -> Study | None:
        """Return the study with the images its rows may name, or None when the policy leaves nothing of it."""
        if policy is ImagePolicy.REFERENCE:
            return study
        images = tuple(image for image in study.images if image.image_id not in self.unusable_images)
        return replace(study, images=images) if images else None


def make_plan(reader: Reader, config: BuildConfig) -> Plan:
    """Read every study once.

    Args:
        reader: The source.
        config: The configuration.

    Raises:
        DataError: If the source has no study, an id twice, or a patient in two splits.
        UsageError: If no study carries labels by the configured labeler.
    """
    studies: Counter[str] = Counter()
    labelers: Counter[str] = Counter()
    unusable: dict[str, str] = {}
    counter = BalanceCounter(config.yes_fraction)
    seen: set[str] = set()
    splits: dict[str, str] = {}
    for study in reader.studies():
        _check_unique(study, seen, splits)
        studies[study.split.value] += 1
        labelers.update(study.labels.keys())
        if config.images is ImagePolicy.REQUIRE:
            for image in study.images:
                reason = "image file missing" if image.file is None else check_image(image.file)
                if reason is not None:
                    unusable[image.image_id] = reason
        plan_so_far = Plan({}, {}, unusable, Balance())
        kept = plan_so_far.usable(study, config.images)
        if kept is not None:
            _count_questions(kept, config, counter)
    if not studies:
        raise DataError("the source has no study", where=str(reader.root), mend="check the root folder")
    if config.labeler not in labelers:
        known = ", ".join(sorted(labelers)) or "none"
        raise UsageError(f"no study has labels by {config.labeler!r}", where="--labeler", mend=f"choose from: {known}")
    return Plan(dict(sorted(studies.items())), dict(sorted(reader.rejected.items())), unusable, counter.balance())


def _check_unique(study: Study, seen: set[str], splits: dict[str, str]) -> None:
    if study.study_id in seen:
        raise DataError("two studies have this id", where=f"{study.source} {study.study_id}", mend="remove one of them")
    seen.add(study.study_id)
    earlier = splits.setdefault(study.subject_id, study.split.value)
    if earlier != study.split.value:
        raise DataError(
            f"a patient stands in the splits {earlier} and {study.split.value}",
            where=f"{study.source} {study.subject_id}",
            mend="give all studies of a patient one split",
        )


def _count_questions(study: Study, config: BuildConfig, counter: BalanceCounter) -> None:
    labels = study.labels.get(config.labeler)
    if labels is None or study.sections.findings is None:
        return
    by_name = dict(zip(FINDINGS, labels, strict=True))
    for image in images_or_text_only(study):
        for finding in ASKED_FINDINGS:
            if by_name[finding] != UNCERTAIN:
                rank = question_rank(config.seed, study, image, finding)
                counter.add(study.split, finding, by_name[finding] == POSITIVE, rank)

"""The configuration of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from radialog_bench.evaluations import EVALUATION_NAMES, Options
from radialog_bench.evaluations.base import TokenLimits
from radialog_bench.metrics.bertscore import BertScoreSettings
from radialog_bench.metrics.protocols import PROTOCOLS
from radialog_bench.metrics.texts import BERTSCORE, DEFAULT_PROTOCOLS, METEOR, RADEVAL, TextSettings

OnError = Literal["zero", "skip", "fail"]
"""What a failed sample counts as: the worst answer, nothing, or the end of the run."""


PLACES = frozenset({"root", "reports", "rad_restruct", "image_root", "chexbert", "vocabulary"})
"""Settings that say where files lie; what is in them is hashed into the data's manifest and the signatures."""


def default_text_metrics(source: str) -> tuple[str, ...]:
    """Return the metrics over texts that a source is scored with unless a run says otherwise.

    The demo is to run everywhere: METEOR needs Java and a package, BERTScore an encoder.

    Args:
        source: Name of the source.
    """
    return () if source == "demo" else (METEOR, BERTSCORE)


class RunConfig(BaseModel):
    """What a run measures. Its identity, beside model and data, decides whether a run folder can be resumed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    model_args: dict[str, Any] = {}
    evaluations: tuple[str, ...] = EVALUATION_NAMES
    data: str = "demo"
    root: Path | None = None
    reports: Path | None = None
    """MIMIC-CXR's reports, a zip file or a folder."""
    rad_restruct: Path | None = None
    """Rad-ReStruct's folder, attached to iu-xray."""
    image_root: Path | None = None
    """Folder that a built dataset's image paths are relative to."""
    split: Literal["train", "validation", "test", "all"] = "test"
    limit: int | None = Field(default=None, ge=1)
    """Only the first samples of each evaluation."""
    sample_ids: tuple[str, ...] | None = None
    """Only these samples; an evaluation without one is left out."""
    shard: str | None = None
    """Only the patients of part i of n, as ``i/n``."""
    limit_to_images: bool = False
    """Leave out samples whose image is missing or unreadable, and count them."""
    labeler: str | None = None
    """None takes the source's default."""
    chexbert: Path | None = None
    """CheXbert's checkpoint; None takes it from the Hub. Its hash stands in every signature."""
    vocabulary: Path | None = None
    """BERT's vocabulary for CheXbert; None takes it from the Hub."""
    protocols: tuple[str, ...] = DEFAULT_PROTOCOLS
    """Protocols of BLEU and ROUGE."""
    text_metrics: tuple[str, ...] | None = None
    """Further metrics over texts: meteor, bertscore, radeval:NAME; None takes the source's default."""
    bertscore_model: str = BertScoreSettings.model
    """BERTScore's encoder, on the Hub or a folder."""
    bertscore_layer: int | None = None
    """None takes bert-score's choice for the model."""
    bertscore_baseline: str | None = None
    """A file of bert-score's form, or "none"; None takes the one of the model."""
    bertscore_prefix_space: bool = BertScoreSettings.prefix_space
    """Whether a blank is put before each text, where the tokenizer tells words at the start of a text apart."""
    indication: bool = False
    """Give the report prompt the clinical indication, where a study has one."""
    image: bool = True
    """Show the model the image."""
    tokens: TokenLimits = "v2"
    """New tokens by turn, as in the release v1 or v2."""
    view_parser: str = "whole-word"
    findings_parser: str = "lower-cased"
    on_error: OnError = "zero"
    bootstrap: int = Field(default=1000, ge=0)
    seed: int = 0
    batch_size: int = Field(default=8, ge=1)
    window: int = Field(default=64, ge=1)
    replicas: int = Field(default=1, ge=1)
    """Copies of the model, each in a Ray actor with batches of its own."""
    gpus_per_replica: float | None = Field(default=None, ge=0)
    """None takes one where the cluster has any."""
    timeout: float | None = Field(default=None, gt=0)
    """Seconds the model may be silent; None waits for ever."""
    include_text: bool = False
    """Let the report page show texts of credentialed sources."""

    @field_validator("protocols", "text_metrics")
    @classmethod
    def _are_known(cls, names: tuple[str, ...] | None, info: ValidationInfo) -> tuple[str, ...] | None:
        """Refuse an unknown name before a model is asked."""
        known = tuple(PROTOCOLS) if info.field_name == "protocols" else (METEOR, BERTSCORE)
        for name in names or ():
            if name not in known and not (info.field_name == "text_metrics" and name.startswith(RADEVAL)):
                more = f", {RADEVAL}NAME" if info.field_name == "text_metrics" else ""
                raise PydanticCustomError("unknown", f"there is no {name!r}; choose from: {', '.join(known)}{more}")
        return names

    def identity(self) -> dict[str, Any]:
        """Return the settings that change what is asked or how it is scored."""
        free = {"batch_size", "window", "replicas", "gpus_per_replica", "timeout", "include_text", *PLACES}
        return self.model_dump(mode="json", exclude=free)

    def paths(self) -> dict[str, str]:
        """Return where data and checkpoints lie, by the name of the setting."""
        found = {name: getattr(self, name) for name in sorted(PLACES)}
        return {name: str(path.resolve()) for name, path in found.items() if path is not None}

    def texts(self) -> TextSettings:
        """Return which metrics over texts are wanted."""
        wanted = default_text_metrics(self.data) if self.text_metrics is None else self.text_metrics
        bertscore = BertScoreSettings(
            self.bertscore_model,
            self.bertscore_layer,
            self.bertscore_baseline,
            prefix_space=self.bertscore_prefix_space,
        )
        return TextSettings(self.protocols, wanted, bertscore)

    def options(self) -> Options:
        """Return the switches of the evaluations."""
        return Options(
            indication=self.indication,
            image=self.image,
            tokens=self.tokens,
            view_parser=self.view_parser,
            findings_parser=self.findings_parser,
        )

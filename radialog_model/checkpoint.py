"""A checkpoint folder: a stock LLaVA, its processor, and the findings head or extractor beside it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor, LlavaForConditionalGeneration, LlavaProcessor
from transformers.utils.logging import disable_progress_bar

from radialog_instruct.assets import demonstration_weights_dir
from radialog_instruct.errors import ModelError, UsageError
from radialog_model import register
from radialog_model.biovil import BioViLTModel
from radialog_model.export.folder import into_place
from radialog_model.findings import FindingsExtractor, FindingsHead, FindingsPredictor, TowerFindings
from radialog_model.findings.extractor import FOLDER as FINDINGS_FOLDER
from radialog_model.processing import image_features
from radialog_model.prompts import Variant
from radialog_model.validation import check_tokens, few

if TYPE_CHECKING:
    from peft import PeftModel

RADIALOG_FILE = "radialog.json"
"""Says what a checkpoint is: its notices and how it was trained."""


@dataclass(frozen=True)
class Checkpoint:
    """A loaded model with all it needs to answer.

    Attributes:
        model: The LLaVA, in evaluation mode.
        processor: Its processor, padding on the left.
        findings: What predicts its findings text, or None.
        notices: What a reader of its answers must know.
        fingerprint: SHA-256 over the weight files.
    """

    model: LlavaForConditionalGeneration
    processor: LlavaProcessor
    findings: FindingsPredictor | None
    notices: tuple[str, ...]
    fingerprint: str
    training: dict[str, Any] = field(default_factory=dict)

    @property
    def variant(self) -> Variant:
        """Which of the paper's two variants it is; their prompts differ."""
        return "align" if self.model.config.model_type == "radialog_align" else "project"

    @property
    def tower(self) -> BioViLTModel:
        """The image tower."""
        tower = self.model.model.vision_tower
        assert isinstance(tower, BioViLTModel)
        return tower


def load_checkpoint(
    weights: str | Path | None = None,
    *,
    device: str = "cpu",
    dtype: str | None = None,
    attention: str | None = None,
    base_model: str | None = None,
) -> Checkpoint:
    """Load a checkpoint from a folder or a Hub repository.

    Args:
        weights: Folder or repository id; the embedded demonstration weights by default.
        device: Where the model computes.
        dtype: ``float32``, ``bfloat16`` or ``float16``; by default 32 bits on the CPU and bfloat16 elsewhere.
        attention: ``sdpa`` or ``eager``, for the language model; by default what transformers chooses.
        base_model: Language model of an adapter; the one its configuration names by default.

    Raises:
        UsageError: If ``dtype`` or ``attention`` is none of these, or the device does not exist.
        ModelError: If it cannot be found or read, or the tokenizer does not fit the model.
    """
    register()
    disable_progress_bar()  # of shards being read: a moment, and noise in the callers' output
    kind = _dtype(device, dtype)
    if attention not in (None, "sdpa", "eager"):
        raise UsageError(f"attention={attention}", where="the model's options", mend="choose sdpa or eager")
    folder = checkpoint_folder(weights)
    try:
        processor = AutoProcessor.from_pretrained(folder)
        model: Any = _load_model(folder, base_model, kind, attention)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0]
        raise ModelError(f"the checkpoint cannot be loaded ({first})", where=str(folder)) from error
    validate_tokens(model, processor)
    processor.tokenizer.padding_side = "left"
    described = description(folder)
    model = _placed(model, device).eval()
    fingerprint = weights_fingerprint(folder)
    findings = open_findings(folder, model.model.vision_tower, processor, fingerprint, device)
    if isinstance(findings, FindingsExtractor):
        fingerprint = sha256(f"{fingerprint}{findings.fingerprint}".encode()).hexdigest()
    return Checkpoint(
        model=model,
        processor=processor,
        findings=findings,
        notices=tuple(described.get("notices", ())),
        fingerprint=fingerprint,
        training=described.get("training", {}),
    )


def save_checkpoint(
    folder: Path,
    model: LlavaForConditionalGeneration | PeftModel,
    processor: LlavaProcessor,
    findings: FindingsHead | FindingsPredictor | None,
    notices: tuple[str, ...],
    training: dict[str, Any],
    *,
    dtype: torch.dtype = torch.float16,
    state: dict[str, torch.Tensor] | None = None,
) -> None:
    """Write a checkpoint as safetensors; of a model with adapters the adapter file alone.

    Args:
        folder: Where to; created if needed. An older model there makes way once this one is written.
        model: The model.
        processor: Its processor.
        findings: The findings head or extractor, or None.
        notices: What a reader of its answers must know.
        training: How it was trained.
        dtype: Type of the written weights; adapters keep their own.
        state: All weights, gathered from where they were sharded; those of the model by default.

    Raises:
        ModelError: If processor and model disagree about the number of image tokens.
        UsageError: If the folder cannot be written.
    """
    from radialog_model.export.engines import write_index
    from radialog_model.lora import save_adapter

    adapters = not isinstance(model, LlavaForConditionalGeneration)
    whole: Any = model
    validate_tokens(whole.base_model.model if adapters else whole, processor)
    disable_progress_bar()
    described = {"notices": list(notices), "training": training}
    with into_place(folder) as written:
        if adapters:
            save_adapter(whole, written, state)
        else:
            whole.to(dtype).save_pretrained(written, state_dict=state)
            write_index(written)
        processor.save_pretrained(written)
        if findings is not None:
            findings.save(written)
        (written / RADIALOG_FILE).write_text(json.dumps(described, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def validate_tokens(model: LlavaForConditionalGeneration, processor: LlavaProcessor) -> None:
    """Check that the tokenizer fits and the processor writes as many image tokens as the tower makes features.

    Raises:
        ModelError: If they do not.
    """
    embeddings: Any = model.get_input_embeddings()
    check_tokens(model.config, processor, len(embeddings.weight))
    crop = processor.image_processor.crop_size
    features = image_features(model.config, crop["height"])
    counted = processor._get_num_multimodal_tokens(image_sizes=[[crop["height"], crop["width"]]])
    tokens = counted["num_image_tokens"][0]
    expected = model.config.image_seq_length
    if not features == tokens == expected:
        what = f"the tower makes {features} image features, the processor writes {tokens} image tokens"
        raise ModelError(f"{what}, the configuration says {expected}")


def weights_fingerprint(folder: Path) -> str:
    """Return the SHA-256 over the names and bytes of a checkpoint's weight files."""
    hasher = sha256()
    for path in sorted(folder.glob("*.safetensors")):
        hasher.update(path.name.encode())
        hasher.update(path.read_bytes())
    return hasher.hexdigest()


def open_findings(
    folder: Path, tower: Any, processor: LlavaProcessor, fingerprint: str, device: str
) -> FindingsPredictor | None:
    """Return what predicts findings in a checkpoint: a head on its tower, or an extractor of its own.

    Args:
        folder: The checkpoint.
        tower: Its tower.
        processor: Its processor.
        fingerprint: Hash of its weights.
        device: Where an extractor computes.

    Raises:
        ModelError: If it holds both, or one that cannot be read.
    """
    head = FindingsHead.load(folder)
    if not (folder / FINDINGS_FOLDER).is_dir():
        return TowerFindings(head, tower, processor.image_processor, fingerprint) if head is not None else None
    if head is not None:
        mend = f"remove findings_head.* or {FINDINGS_FOLDER}/"
        raise ModelError("a findings head and a findings extractor", where=str(folder), mend=mend)
    return FindingsExtractor.load(folder / FINDINGS_FOLDER, device=device)


def _load_model(
    folder: Path, base_model: str | None, dtype: torch.dtype, attention: str | None
) -> LlavaForConditionalGeneration:
    from radialog_model.lora import ADAPTER_CONFIG, load_adapter

    if (folder / ADAPTER_CONFIG).is_file():
        adapted = load_adapter(folder, base_model=base_model, dtype=dtype)
        if attention is not None:
            adapted.model.language_model.set_attn_implementation(attention)
        return adapted
    # A tower may know fewer kinds of attention than a language model.
    attentions = None if attention is None else {"text_config": attention}
    loaded: Any = AutoModelForImageTextToText.from_pretrained(
        folder, dtype=dtype, attn_implementation=attentions, output_loading_info=True
    )
    model: LlavaForConditionalGeneration
    model, report = loaded
    wrong = [
        f"{kind.replace('_', ' ')}: {few(report[kind])}"
        for kind in ("missing_keys", "unexpected_keys")
        if report.get(kind)
    ]
    if wrong:
        raise ModelError(f"the weights do not fit the configuration ({'; '.join(wrong)})", where=str(folder))
    return model


def _dtype(device: str, name: str | None) -> torch.dtype:
    kinds = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name is None:
        return torch.float32 if device == "cpu" else torch.bfloat16
    if name not in kinds:
        raise UsageError(f"dtype={name}", where="the model's options", mend=f"choose one of: {', '.join(kinds)}")
    return kinds[name]


def _placed(model: Any, device: str) -> Any:
    try:
        return model.to(device)
    except (RuntimeError, AssertionError) as error:
        first = str(error).strip().splitlines()[0]
        raise UsageError(
            f"this device cannot be used ({first})", where=device, mend="cpu, cuda, cuda:1, ..."
        ) from error


def checkpoint_folder(weights: str | Path | None) -> Path:
    """Return the folder of a checkpoint or base model, fetched from the Hub where it is the name of a repository.

    Args:
        weights: Folder or repository id; the embedded demonstration weights by default.

    Raises:
        ModelError: If it is neither.
    """
    if weights is None:
        return demonstration_weights_dir()
    folder = Path(weights)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ModelError("no config.json here", where=str(folder), mend="give the folder of a checkpoint")
        return folder
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(str(weights)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        mend = "give a checkpoint's folder, or the name of a Hub repository you can reach"
        raise ModelError(
            "neither a folder nor a repository that can be fetched", where=str(weights), mend=mend
        ) from error


def description(folder: Path) -> dict[str, Any]:
    """Return what a checkpoint's ``radialog.json`` says; empty where there is none.

    Raises:
        ModelError: If it is not JSON.
    """
    path = folder / RADIALOG_FILE
    if not path.is_file():
        return {}
    try:
        described: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"not JSON ({error})", where=str(path)) from error
    return described

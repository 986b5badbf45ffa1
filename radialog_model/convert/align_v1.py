"""RaDialog v1 (``align``), published in two files, becomes a model of this project.

The first file holds what the first stage trained, under the names of LAVIS' BLIP-2; the second the LoRA of the language
model and ``img_proj_layer``. Frozen weights are in neither: the tower is the published BioViL-T, and the projector
behind it was drawn at random whenever the original code started. Its release computed with both defects that
``radialog_model.qformer.ReleasedNeck`` describes, so a converted model does too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from radialog_instruct.errors import ModelError
from radialog_model.align.bert import bert_style_name
from radialog_model.align.build import BuiltAlign, build_align
from radialog_model.align.configuration import AlignStage1Config
from radialog_model.align.stage1 import AlignStage1Model
from radialog_model.biovil import BioViLTConfig, BioViLTModel

State = dict[str, Tensor]

PROJECTOR = "visual_encoder.projector."
_OWN = {
    "query_transformer.queries.weight": "query_tokens",
    "query_transformer.norm.": "ln_vision.",
    "query_transformer.neck.first.": f"{PROJECTOR}model.0.",
    "query_transformer.neck.bn.": f"{PROJECTOR}model.1.",
    "query_transformer.neck.second.": f"{PROJECTOR}model.3.",
    "image_projection.": "vision_proj.",
    "text_projection.": "text_proj.",
    "matching_head.": "itm_head.",
    "temperature": "temp",
}
_REPEATED = (
    "Qformer.bert.embeddings.position_ids",
    "Qformer.cls.predictions.decoder.weight",
    "Qformer.cls.predictions.decoder.bias",
)
"""What the publication holds twice, or as plain numbers."""
_UNUSED = ("visual_encoder.encoder.vit_pooler.", "visual_encoder.encoder.encoder.fc.")
"""Parts that a single image never reaches."""
_LORA = re.compile(r"layers\.(\d+)\.self_attn\.(\w+)\.lora_([AB])(?:\.default)?\.weight$")
_WRAPPERS = re.compile(r"^(base_model\.|model\.)*")
_NO_PROJECTOR = (
    "the published file lacks it, because it was frozen; the original code drew it at random from its seed: save "
    "visual_encoder.projector's state dict from there, and give it as the projector"
)


def read_v1_stage1(path: Path) -> State:
    """Read the tensors of the published first stage, ``checkpoint_4.pth``.

    The pickle is read without running what it contains.

    Args:
        path: The file; the tensors lie in it under ``model``, or alone.

    Raises:
        ModelError: If it cannot be read, or holds no tensors.
    """
    import pickle

    try:
        values: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        mend = "download it again; where it holds more than tensors, save its 'model' alone"
        raise ModelError(f"not readable as weights ({first})", where=str(path), mend=mend) from error
    state = values.get("model", values) if isinstance(values, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError("no tensors under 'model'", where=str(path), mend="give the published checkpoint_4.pth")
    return state


def convert_align_v1(
    stage1: State,
    adapter: State,
    *,
    tower: BioViLTModel,
    language_model: Any,
    tokenizer: PreTrainedTokenizerBase,
    projector: State | None = None,
    lora_alpha: float = 16,
    heads: int | None = None,
) -> BuiltAlign:
    """Convert the publication.

    Args:
        stage1: Tensors of the first stage, as ``read_v1_stage1`` gives them.
        adapter: Tensors of ``adapter_model.bin``: LoRA and ``img_proj_layer``.
        tower: The converted published BioViL-T.
        language_model: The base, ``lmsys/vicuna-7b-v1.3``; the LoRA is merged into it in place.
        tokenizer: Its tokenizer.
        projector: State dict of ``visual_encoder.projector`` (names beginning with ``model.0.``), where ``stage1``
            lacks it.
        lora_alpha: ``lora_alpha`` of ``adapter_config.json``.
        heads: Attention heads of the query transformer; one for each 64 values by default, as in BERT.

    Returns:
        Model and processor, in evaluation mode, with ``released_bugs`` set.

    Raises:
        ModelError: If tensors are missing, not known or of the wrong shape, or the tower is another one.
    """
    first = convert_v1_stage1(stage1, tower=tower, projector=projector, heads=heads)
    projection, lora = _split_adapter(adapter)
    merge_lora(language_model, lora, lora_alpha)
    built = build_align(first, llm=language_model, tokenizer=tokenizer)
    linear = built.model.model.multi_modal_projector.language_projection
    _fill(linear, {name: projection.get(f"img_proj_layer.{name}") for name in linear.state_dict()}, "img_proj_layer.")
    built.model.eval()  # type: ignore[no-untyped-call]
    return built


def convert_v1_stage1(
    state: State, *, tower: BioViLTModel, projector: State | None = None, heads: int | None = None
) -> AlignStage1Model:
    """Convert the first stage alone, text branch and heads included.

    Args:
        state: Tensors under the published names.
        tower: The converted published BioViL-T.
        projector: State dict of ``visual_encoder.projector``, where ``state`` lacks it.
        heads: Attention heads; one for each 64 values by default.

    Raises:
        ModelError: If tensors are missing, not known or of the wrong shape, or the tower is another one.
    """
    published = {**state, **{f"{PROJECTOR}{name}": value for name, value in (projector or {}).items()}}
    model = AlignStage1Model(_config(published, tower.config, heads))
    wanted = {name: published_name(name) for name in model.state_dict() if not name.startswith("vision_tower.")}
    _check_names(published, wanted.values(), tower)
    _check_tower(published, tower)
    model.vision_tower.load_state_dict(tower.state_dict())
    _fill(model, {name: published.get(theirs) for name, theirs in wanted.items()}, "", wanted)
    model.eval()  # type: ignore[no-untyped-call]
    return model


def published_name(name: str) -> str:
    """Return the published name of a tensor of ``AlignStage1Model`` that is not the tower's."""
    prefix = next((prefix for prefix in _OWN if name.startswith(prefix)), None)
    if prefix is not None:
        return _OWN[prefix] + name.removeprefix(prefix)
    return f"Qformer.{bert_style_name(name)}"


def published_tower_name(name: str, config: BioViLTConfig) -> str:
    """Return the published name of a tensor of the tower."""
    rest = {
        "stem.0.": "encoder.conv1.",
        "stem.1.": "encoder.bn1.",
        "projection.": "backbone_to_vit.",
        "missing_previous.weight": "missing_previous_emb",
    }
    prefix = next((prefix for prefix in rest if name.startswith(prefix)), None)
    if prefix is not None:
        return f"visual_encoder.encoder.{rest[prefix]}{name.removeprefix(prefix)}"
    _, number, tail = name.split(".", 2)
    block, stage = int(number), 0
    while block >= config.depths[stage]:
        block -= config.depths[stage]
        stage += 1
    return f"visual_encoder.encoder.encoder.layer{stage + 1}.{block}.{tail}"


@torch.no_grad()
def merge_lora(language_model: Any, lora: State, alpha: float) -> None:
    """Add the LoRA of attention projections to a language model's weights.

    Args:
        language_model: Changed in place.
        lora: Tensors whose names end in ``layers.N.self_attn.X_proj.lora_A.weight`` or ``lora_B``.
        alpha: Numerator of the scale; the rank is its denominator.

    Raises:
        ModelError: If a half is missing, or a tensor fits no layer.
    """
    pairs: dict[tuple[int, str], dict[str, Tensor]] = {}
    for name, value in lora.items():
        match = _LORA.search(name)
        if match is None:
            raise ModelError(f"not a LoRA of an attention projection: {name}", where="adapter", mend="check the file")
        pairs.setdefault((int(match[1]), match[2]), {})[match[3]] = value.float()
    layers = language_model.base_model.layers
    kinds = {kind for _, kind in pairs}
    absent = [f"layers.{n}.self_attn.{kind}" for n in range(len(layers)) for kind in kinds if (n, kind) not in pairs]
    absent += [f"layers.{n}.self_attn.{kind}" for (n, kind), pair in pairs.items() if len(pair) != 2]
    if absent or not pairs:
        what = absent[0] if absent else "all of it"
        raise ModelError(f"LoRA tensors are missing: {what}", where="adapter", mend="check the file")
    for (number, kind), pair in pairs.items():
        linear = getattr(layers[number].self_attn, kind, None) if number < len(layers) else None
        update = None if pair["B"].shape[1] != len(pair["A"]) else pair["B"] @ pair["A"] * (alpha / len(pair["A"]))
        if linear is None or update is None or update.shape != linear.weight.shape:
            raise ModelError(f"does not fit the base model: layers.{number}.self_attn.{kind}", where="adapter")
        linear.weight.copy_(linear.weight.float() + update.to(linear.weight.device))


def _split_adapter(adapter: State) -> tuple[State, State]:
    bare = {_WRAPPERS.sub("", name): value for name, value in adapter.items()}
    projection = {name: value for name, value in bare.items() if name.startswith("img_proj_layer.")}
    return projection, {name: value for name, value in bare.items() if name not in projection}


def _config(state: State, tower: BioViLTConfig, heads: int | None) -> AlignStage1Config:
    try:
        _, queries, hidden = state["query_tokens"].shape
        words = state["Qformer.bert.embeddings.word_embeddings.weight"]
        positions = state["Qformer.bert.embeddings.position_embeddings.weight"]
        inner = state["Qformer.bert.encoder.layer.0.intermediate.dense.weight"]
        compared, width = state["vision_proj.weight"], state["ln_vision.weight"]
    except (KeyError, ValueError) as error:
        what = f"{error.args[0]} is missing" if isinstance(error, KeyError) else "query_tokens has another shape"
        raise ModelError(
            f"not the published first stage: {what}", where="first stage", mend="check the file"
        ) from error
    numbers = [re.match(r"Qformer\.bert\.encoder\.layer\.(\d+)\.", name) for name in state]
    return AlignStage1Config(
        vision_config=tower,
        qformer_config={
            "vocab_size": len(words),
            "hidden_size": hidden,
            "num_hidden_layers": 1 + max(int(match[1]) for match in numbers if match),
            "num_attention_heads": heads or max(hidden // 64, 1),
            "intermediate_size": len(inner),
            "max_position_embeddings": len(positions),
            "encoder_hidden_size": len(width),
        },
        num_query_tokens=queries,
        projection_dim=len(compared),
        max_text_length=min(256, len(positions)),
        released_bugs=True,
    )


def _check_names(state: State, wanted: Iterable[str], tower: BioViLTModel) -> None:
    of_tower = {published_tower_name(name, tower.config) for name in tower.state_dict()}
    known = {*wanted, *_REPEATED, *of_tower}
    unknown = sorted(name for name in state.keys() - known if not name.startswith(_UNUSED))
    missing = sorted(set(wanted) - state.keys())
    if unknown:
        raise ModelError(f"names that RaDialog v1 does not have: {_few(unknown)}", where="first stage")
    if missing:
        mend = _NO_PROJECTOR if all(name.startswith(PROJECTOR) for name in missing) else "check the file"
        raise ModelError(f"missing: {_few(missing)}", where="first stage", mend=mend)
    tied = state.get("Qformer.cls.predictions.decoder.weight")
    if tied is not None and not torch.equal(tied, state["Qformer.bert.embeddings.word_embeddings.weight"]):
        raise ModelError("the language head's output layer is not the table of words", where="first stage")


def _check_tower(state: State, tower: BioViLTModel) -> None:
    # The publication kept BatchNorm's statistics of its frozen tower: they tell whether this is the same one.
    for name, value in tower.state_dict().items():
        theirs = state.get(published_tower_name(name, tower.config))
        if theirs is None:
            continue
        if theirs.numel() != value.numel() or not torch.allclose(
            theirs.float().flatten(), value.float().flatten(), rtol=1e-3, atol=1e-5
        ):
            mend = "convert the published BioViL-T and give that"
            raise ModelError(f"the tower is not the one of the publication: {name} differs", where="tower", mend=mend)


@torch.no_grad()
def _fill(module: Any, values: dict[str, Tensor | None], prefix: str, names: dict[str, str] | None = None) -> None:
    for name, tensor in module.state_dict().items():
        if name.startswith("vision_tower."):
            continue
        value = values[name]
        called = (names or {}).get(name, f"{prefix}{name}")
        if value is None:
            raise ModelError(f"missing: {called}", where="publication", mend="check the file")
        if name == "query_transformer.queries.weight":
            value = value[0]
        if value.shape != tensor.shape:
            raise ModelError(f"{called} is {list(value.shape)}, not {list(tensor.shape)}", where="publication")
        tensor.copy_(value)


def _few(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more

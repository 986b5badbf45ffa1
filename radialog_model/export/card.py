"""The model card of a folder: metadata the Hub reads, and text that says what the model is and how to load it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

from huggingface_hub import ModelCardData

from radialog_instruct.prompts import CONSTANTS, default_prompts
from radialog_model.prompts import IMAGE_TOKEN

Kind = Literal["whole", "text", "adapter"]
Loading = Literal["package", "remote", "stock"]
"""What loading needs: this package, the folder's own code, or transformers alone."""

_PIPELINES: dict[Kind, str] = {
    "whole": "image-text-to-text",
    "text": "text-generation",
    "adapter": "image-text-to-text",
}


@dataclass(frozen=True)
class CardFacts:
    """What a card says.

    Attributes:
        title: Heading, usually the folder's name.
        kind: A whole model, a language model alone, or an adapter.
        config: Configuration of the whole LLaVA.
        loading: What loading needs.
        dtype: Type of the weights.
        licence: The licence field: a Hub identifier, or ``other``.
        base: Name of the base model, or None.
        native_vllm: Whether vLLM runs the folder without its transformers backend.
        described: Content of ``radialog.json``: its ``notices`` and, under ``training``, ``datasets``, ``terms``,
            ``rows`` and ``converted_from`` where they are known.
    """

    title: str
    kind: Kind
    config: Any
    loading: Loading
    dtype: str
    licence: str
    base: str | None = None
    native_vllm: bool = False
    described: dict[str, Any] = field(default_factory=dict)


def render_card(facts: CardFacts) -> str:
    """Return the card as Markdown with YAML metadata.

    Raises:
        UsageError: If the template cannot be rendered.
    """
    training = facts.described.get("training", {})
    prompts = default_prompts()
    variant = "align" if facts.config.model_type == "radialog_align" else "project"
    text = facts.config.text_config
    tower = facts.config.vision_config
    whole = f"{text.model_type}, {text.num_hidden_layers} layers of {text.hidden_size}, {text.vocab_size} tokens"
    flags = "" if facts.native_vllm or facts.kind == "text" else " --model-impl transformers"
    flags += " --trust-remote-code" if facts.loading == "remote" else ""
    card = prompts.render(
        "cards/model.md",
        "card",
        metadata=_metadata(facts, training),
        title=facts.title,
        kind=facts.kind,
        variant=variant,
        architecture=_architecture(facts),
        tower="none"
        if facts.kind == "text"
        else f"{tower.model_type}, {facts.config.image_seq_length} tokens an image",
        language_model=whole,
        dtype=facts.dtype,
        base=facts.base,
        notices=tuple(facts.described.get("notices", ())),
        datasets=tuple(training.get("datasets", ())),
        terms=training.get("terms"),
        rows=training.get("rows", {}),
        converted_from=training.get("converted_from"),
        layout=_layout(),
        system=json.dumps(prompts.render(CONSTANTS, "system")),
        image_token=IMAGE_TOKEN,
        loading=facts.loading,
        vllm=f"vllm serve .{flags}",
    )
    return card + "\n"


def _metadata(facts: CardFacts, training: dict[str, Any]) -> str:
    data = ModelCardData(
        base_model=facts.base if facts.base and "/" in facts.base and not facts.base.startswith((".", "/")) else None,
        library_name="peft" if facts.kind == "adapter" else "transformers",
        pipeline_tag=_PIPELINES[facts.kind],
        tags=["radiology", "chest-x-ray", "radialog", "llava", "medical"],
        license=facts.licence,
        license_name="see-model-card" if facts.licence == "other" else None,
        datasets=list(training.get("hub_datasets", ())) or None,
        language="en",
    )
    return data.to_yaml().strip()


def _architecture(facts: CardFacts) -> str:
    if facts.kind == "text":
        return f"{facts.config.text_config.model_type} for causal language modelling"
    return str((facts.config.architectures or ["LlavaForConditionalGeneration"])[0])


def _layout() -> str:
    prompts = default_prompts()
    slots = {"image": IMAGE_TOKEN, "findings": "edema, pneumonia", "instruction": "Write the findings of this X-ray."}
    first = prompts.render(CONSTANTS, "report_with_findings", **slots)
    system = prompts.render(CONSTANTS, "system")
    return f"<s>{system} USER: {first} ASSISTANT: ...</s>USER: Is there any edema? ASSISTANT:"

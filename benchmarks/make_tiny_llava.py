"""Make a tiny LLaVA: a random CLIP tower and projector before a real small language model. It says nothing sensible.

python benchmarks/make_tiny_llava.py LANGUAGE_MODEL_FOLDER OUT

It exists to compare engines: the same weights run in transformers, in vLLM and behind a server.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

IMAGE_TOKEN = "<image>"
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for block in message['content'] if block['type'] == 'image' %}<image>\n{% endfor %}"
    "{% for block in message['content'] if block['type'] == 'text' %}{{ block['text'] }}{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""ChatML with the images before the text of their turn; of our own making, so that roles and images are in sight."""


def assemble(language: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, out: Path, *, seed: int = 0) -> None:
    """Write the model and its processor.

    Args:
        language: The language model; its embeddings grow by the image token.
        tokenizer: Its tokenizer.
        out: Folder to write.
        seed: Seed of the tower's and the projector's weights.
    """
    import torch
    from transformers import (
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    torch.manual_seed(seed)
    tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE_TOKEN]})
    language.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    vision = CLIPVisionConfig(
        hidden_size=64, intermediate_size=128, num_hidden_layers=3, num_attention_heads=4, image_size=56, patch_size=14
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=language.config,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE_TOKEN),
        image_seq_length=16,
    )
    model = LlavaForConditionalGeneration(config).to(torch.float32)
    own: dict[str, Any] = dict(language.state_dict())
    head = own.pop("lm_head.weight", language.get_input_embeddings().weight)
    model.model.language_model.load_state_dict({name.removeprefix("model."): value for name, value in own.items()})
    model.lm_head.weight.data.copy_(head)
    with torch.no_grad():
        # Random features are far larger than word embeddings; at their size the picture has a say and no more.
        projector = model.model.multi_modal_projector
        projector.linear_2.weight.mul_(float(language.get_input_embeddings().weight.std()) * 10)
    model.generation_config = language.generation_config
    model.save_pretrained(out)
    images = CLIPImageProcessorPil(size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56})
    LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    ).save_pretrained(out)
    name_tower_for_vllm(out)


def name_tower_for_vllm(folder: Path) -> None:
    """Rename the tower's weights: ``vision_tower.*`` in transformers 5 is ``vision_tower.vision_model.*`` in vLLM."""
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    weights = load_file(path)
    for old in [name for name in weights if "vision_tower." in name and ".vision_model." not in name]:
        weights[old.replace("vision_tower.", "vision_tower.vision_model.")] = weights.pop(old)
    save_file(weights, path, metadata={"format": "pt"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("language", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    language = AutoModelForCausalLM.from_pretrained(given.language, dtype=torch.float32)
    assemble(language, AutoTokenizer.from_pretrained(given.language), given.out)
    print(given.out)


if __name__ == "__main__":
    main()

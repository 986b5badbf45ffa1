"""Tiny stand-ins for published checkpoints, under the exact names and in the files of the publications.

``old_features`` computes with the published names in plain torch; it shares no code with the package.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, trainers
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

State = dict[str, Tensor]
DEPTHS, WIDTHS, STEM, DIM = (2, 1, 1, 1), (8, 16, 24, 32), 8, 16
HIDDEN, LAYERS, R, ALPHA = 64, 2, 4, 8
LINEARS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
LINEARS += ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
TEXTS = [
    "A chat between a user and a radiologist. USER: Predicted Findings: edema. ASSISTANT: The lungs are clear."
] * 3


def _norm(prefix: str, width: int, g: torch.Generator) -> State:
    return {
        f"{prefix}.weight": torch.rand(width, generator=g) + 0.5,
        f"{prefix}.bias": torch.randn(width, generator=g) * 0.1,
        f"{prefix}.running_mean": torch.randn(width, generator=g) * 0.2,
        f"{prefix}.running_var": torch.rand(width, generator=g) + 0.5,
        f"{prefix}.num_batches_tracked": torch.tensor(7),
    }


def _conv(rows: int, columns: int, side: int, g: torch.Generator) -> Tensor:
    return torch.randn(rows, columns, side, side, generator=g) * (2 / (columns * side * side)) ** 0.5


def tower_state(seed: int = 0) -> State:
    """The BioViL-T image model: used parts first, then those that a single image never reaches."""
    g = torch.Generator().manual_seed(seed)
    body = "encoder.encoder"
    state = {f"{body}.conv1.weight": _conv(STEM, 3, 7, g), **_norm(f"{body}.bn1", STEM, g)}
    channels = STEM
    for stage, (depth, width) in enumerate(zip(DEPTHS, WIDTHS, strict=True), 1):
        inner = width // 4
        for block in range(depth):
            at = f"{body}.layer{stage}.{block}"
            for number, (rows, columns, side) in enumerate(
                ((inner, channels, 1), (inner, inner, 3), (width, inner, 1)), 1
            ):
                state[f"{at}.conv{number}.weight"] = _conv(rows, columns, side, g)
                state |= _norm(f"{at}.bn{number}", rows, g)
            if block == 0 and (stage > 1 or channels != width):
                state[f"{at}.downsample.0.weight"] = _conv(width, channels, 1, g)
                state |= _norm(f"{at}.downsample.1", width, g)
            channels = width
    state["encoder.backbone_to_vit.weight"] = _conv(DIM, channels, 1, g)
    state["encoder.missing_previous_emb"] = torch.randn(1, DIM, 1, 1, generator=g)
    state |= {f"{body}.fc.weight": torch.ones(10, channels), f"{body}.fc.bias": torch.ones(10)}
    state["encoder.vit_pooler.type_embed"] = torch.ones(2, 1, DIM)
    state["encoder.vit_pooler.blocks.0.attn.proj_q.weight"] = torch.ones(DIM, DIM)
    state["projector.model.0.weight"] = torch.ones(8, 2 * DIM, 1, 1)
    state["projector.model.1.running_mean"] = torch.ones(8)
    return state


def old_features(state: State, pixels: Tensor) -> Tensor:
    """[batch, patches, 2 * DIM] as the published code computes them from [batch, 3, side, side]."""

    def norm(x: Tensor, at: str) -> Tensor:
        names = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(state[f"{at}.{name}"] for name in names))

    body = "encoder.encoder"
    x = F.relu(norm(F.conv2d(pixels, state[f"{body}.conv1.weight"], stride=2, padding=3), f"{body}.bn1"))
    x = F.max_pool2d(x, 3, 2, 1)
    for stage, depth in enumerate(DEPTHS, 1):
        for block in range(depth):
            at, stride = f"{body}.layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            y = F.relu(norm(F.conv2d(x, state[f"{at}.conv1.weight"]), f"{at}.bn1"))
            y = F.relu(norm(F.conv2d(y, state[f"{at}.conv2.weight"], stride=stride, padding=1), f"{at}.bn2"))
            y = norm(F.conv2d(y, state[f"{at}.conv3.weight"]), f"{at}.bn3")
            if f"{at}.downsample.0.weight" in state:
                x = norm(F.conv2d(x, state[f"{at}.downsample.0.weight"], stride=stride), f"{at}.downsample.1")
            x = F.relu(x + y)
    x = F.conv2d(x, state["encoder.backbone_to_vit.weight"])
    previous = state["encoder.missing_previous_emb"].repeat(len(x), 1, *x.shape[2:])
    return torch.cat([x, previous], 1).flatten(2).transpose(1, 2)


def published_names(tower: State) -> State:
    """Our tower's state dict under the published names: the converter's inverse."""
    starts = [sum(DEPTHS[:stage]) for stage in range(4)]
    old: State = {}
    for name, value in tower.items():
        part, _, rest = name.partition(".")
        if part == "stem":
            number, _, inner = rest.partition(".")
            old[f"encoder.encoder.{('conv1', 'bn1')[int(number)]}.{inner}"] = value
        elif part == "blocks":
            number, _, inner = rest.partition(".")
            stage = max(s for s in range(4) if starts[s] <= int(number))
            old[f"encoder.encoder.layer{stage + 1}.{int(number) - starts[stage]}.{inner}"] = value
        elif part == "projection":
            old["encoder.backbone_to_vit.weight"] = value
        else:
            old["encoder.missing_previous_emb"] = value.view(1, -1, 1, 1)
    return old


def tokenizer_json() -> Tokenizer:
    """A BPE tokenizer with byte fallback, as LLaVA-1.5's is."""
    legacy = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    trained = Tokenizer(models.BPE())
    trained.normalizer = legacy
    trained.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=120, show_progress=False))
    parts = json.loads(trained.to_str())
    learnt = sorted(parts["model"]["vocab"], key=parts["model"]["vocab"].get)
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *learnt]
    parts["model"] |= {"vocab": {n: i for i, n in enumerate(names)}, "byte_fallback": True, "unk_token": "<unk>"}
    tokenizer = Tokenizer.from_str(json.dumps(parts))
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    return tokenizer


@dataclass(frozen=True)
class Publication:
    """Folders and tensors of a synthetic RaDialog v2."""

    source: Path
    base: Path
    llm: State
    lora: State
    projector: State
    tower: State
    vocab: int

    def text_config(self) -> LlamaConfig:
        return llama(self.vocab)

    def merged_llm(self) -> State:
        """The language model with the LoRA added by hand."""
        merged = dict(self.llm)
        for name in self.lora:
            if ".lora_A." in name:
                target = name.removeprefix("base_model.model.").replace(".lora_A", "")
                delta = self.lora[name.replace("lora_A", "lora_B")] @ self.lora[name]
                merged[target] = merged[target] + ALPHA / R * delta
        return merged


def llama(vocab: int) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=vocab,
        hidden_size=HIDDEN,
        intermediate_size=96,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        rms_norm_eps=1e-5,
        pad_token_id=0,
    )


def publish_v2(root: Path, *, hf_base: bool = False) -> Publication:
    """Write a synthetic RaDialog v2 and its LLaVA-1.5."""
    from transformers import LlamaForCausalLM

    torch.manual_seed(3)
    source, base = root / "radialog-v2", root / "llava-v1.5"
    source.mkdir(parents=True)
    base.mkdir()
    tokenizer = tokenizer_json()
    vocab = tokenizer.get_vocab_size()
    tokenizer.save(str(base / "tokenizer.json"))
    config = llama(vocab)
    model = LlamaForCausalLM(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    llm = {name: value.clone() for name, value in model.state_dict().items()}
    if hf_base:
        _write_hf_base(base, llm, vocab)
    else:
        _write_original_base(base, llm, config)
    lora = {}
    for layer in range(LAYERS):
        for linear in LINEARS:
            rows, columns = llm[f"model.layers.{layer}.{linear}.weight"].shape
            at = f"base_model.model.model.layers.{layer}.{linear}"
            lora[f"{at}.lora_A.weight"] = torch.randn(R, columns) * 0.1
            lora[f"{at}.lora_B.weight"] = torch.randn(rows, R) * 0.1
    torch.save(lora, source / "adapter_model.bin")
    settings = {"peft_type": "LORA", "base_model_name_or_path": "liuhaotian/llava-v1.5-7b", "r": R, "lora_alpha": ALPHA}
    settings |= {"target_modules": [linear.split(".")[1] for linear in LINEARS], "lora_dropout": 0.05, "bias": "none"}
    settings |= {"task_type": "CAUSAL_LM", "inference_mode": True, "enable_lora": None, "modules_to_save": None}
    (source / "adapter_config.json").write_text(json.dumps(settings))
    projector = {
        "mm_projector.0.weight": torch.randn(HIDDEN, 2 * DIM) * 0.1,
        "mm_projector.0.bias": torch.randn(HIDDEN) * 0.1,
        "mm_projector.2.weight": torch.randn(HIDDEN, HIDDEN) * 0.1,
        "mm_projector.2.bias": torch.randn(HIDDEN) * 0.1,
    }
    tower = tower_state(1)
    rest = {f"base_model.model.model.{name}": value for name, value in projector.items()}
    rest |= {f"base_model.model.model.vision_tower.{name}": value for name, value in tower.items()}
    rest["base_model.model.model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(8)
    torch.save(rest, source / "non_lora_trainables.bin")
    old = _old_config(config) | {"mm_vision_tower": "biovil", "mm_hidden_size": 512, "mm_projector_type": "mlp2x_gelu"}
    (source / "config.json").write_text(json.dumps(old))
    return Publication(source, base, llm, lora, projector, tower, vocab)


def _old_config(config: LlamaConfig) -> dict[str, object]:
    keys = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    keys += ("max_position_embeddings", "rms_norm_eps", "hidden_act", "bos_token_id", "eos_token_id", "pad_token_id")
    values = {key: getattr(config, key) for key in keys}
    return values | {"architectures": ["LlavaLlamaForCausalLM"], "model_type": "llava", "torch_dtype": "float16"}


def _write_original_base(base: Path, llm: State, config: LlamaConfig) -> None:
    names = sorted(llm)
    first, second = "pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"
    extra = {"model.mm_projector.0.weight": torch.ones(HIDDEN, 1024), "model.mm_projector.0.bias": torch.ones(HIDDEN)}
    torch.save({name: llm[name] for name in names[:5]}, base / first)
    torch.save({name: llm[name] for name in names[5:]} | extra, base / second)
    index = {name: first if number < 5 else second for number, name in enumerate(names)} | dict.fromkeys(extra, second)
    (base / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": index}))
    old = _old_config(config) | {"mm_vision_tower": "openai/clip-vit-large-patch14-336", "mm_hidden_size": 1024}
    (base / "config.json").write_text(json.dumps(old))


def _write_hf_base(base: Path, llm: State, vocab: int) -> None:
    vision = CLIPVisionConfig(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
    vision.image_size, vision.patch_size = 28, 14
    config = LlavaConfig(vision_config=vision, text_config=llama(vocab), image_token_index=vocab)
    tower = LlavaForConditionalGeneration(config).model.vision_tower.state_dict()
    state = {f"language_model.{name}": value for name, value in llm.items()}
    state |= {f"vision_tower.vision_model.{name}": value.clone() for name, value in tower.items()}
    state["multi_modal_projector.linear_1.weight"] = torch.ones(HIDDEN, 16)
    save_file({name: value.contiguous() for name, value in state.items()}, base / "model.safetensors")
    config.save_pretrained(base)

"""How much memory a model takes, as far as its files or the catalogue show before it is loaded.

Weights: https://huggingface.co/docs/safetensors/index#format, each number in the type that vLLM computes in.
KV cache per token: a key and a value per layer and KV head; with multi-head latent attention (DeepSeek) one
compressed vector and the rotary part per layer.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, cast

from deployments.config import VLLMModel
from deployments.models.catalogue import Catalogue, config_of, folder_of
from deployments.models.files.adapter_places import places_bytes
from deployments.models.files.safetensors_header import NotSafetensors, read_header

FLOATS = frozenset({"F16", "BF16", "F32", "F64"})
WIDE = frozenset({"float", "float32"})


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes that one replica takes; None where it is not known."""

    weights_bytes: int | None
    kv_bytes_per_token: int | None
    context: int | None
    """Tokens of prompt and answer that the model was made for, or is set to."""
    adapters_bytes: int = 0
    """The places for LoRA adapters, as many as may be loaded, used or not."""


def footprint(model: VLLMModel) -> Footprint:
    """Return what is known of a model's memory; reads the headers of its files, and no network."""
    name, config = str(model.engine["model"]), config_of(str(model.engine["model"])) or {}
    text = config.get("text_config")
    shape = cast(Mapping[str, Any], text) if isinstance(text, dict) else config
    known = Catalogue.load().entry(name)
    own = _number(shape, "max_position_embeddings") or (known.context if known else None)
    configured = model.engine.get("max_model_len")
    context = int(configured) if isinstance(configured, int) and configured > 0 else own
    weights = _weights(model, known.bytes if known else None)
    return Footprint(weights, _kv_per_token(model, shape), context, places_bytes(model, shape, _number_bytes(model)))


def _weights(model: VLLMModel, listed: int | None) -> int | None:
    number_bytes = _number_bytes(model)
    folder = folder_of(str(model.engine["model"]))
    if folder is None:
        return None if listed is None else listed * number_bytes // 2
    try:
        files = _weight_files(folder)
        if not files:
            return None
        if files[0].suffix == ".safetensors":
            return sum(_served(file, number_bytes) for file in files)
        return sum(file.stat().st_size for file in files) * number_bytes // 2
    except (OSError, NotSafetensors):
        return None


def _weight_files(folder: Path) -> list[Path]:
    """Return the files that vLLM reads: those that the index names, else all of the first kind that is there."""
    try:
        index: Any = json.loads((folder / "model.safetensors.index.json").read_text(encoding="utf-8"))
        return sorted({folder / str(name) for name in index["weight_map"].values()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))


def _served(file: Path, number_bytes: int) -> int:
    """Return the bytes of a file's tensors once they are loaded; what is quantized stays as it is."""
    return sum(
        prod(tensor.shape) * number_bytes if tensor.dtype in FLOATS else tensor.size_bytes
        for tensor in read_header(file).values()
    )


def _kv_per_token(model: VLLMModel, shape: Mapping[str, Any]) -> int | None:
    layers, heads = _number(shape, "num_hidden_layers"), _number(shape, "num_attention_heads")
    if layers is None:
        return None
    number_bytes = 1 if str(model.engine.get("kv_cache_dtype", "auto")).startswith("fp8") else _number_bytes(model)
    if latent := _number(shape, "kv_lora_rank"):
        return layers * (latent + (_number(shape, "qk_rope_head_dim") or 0)) * number_bytes
    hidden, kv_heads = _number(shape, "hidden_size"), _number(shape, "num_key_value_heads") or heads
    head = _number(shape, "head_dim") or (hidden // heads if hidden and heads else None)
    return None if head is None or kv_heads is None else 2 * layers * kv_heads * head * number_bytes


def _number_bytes(model: VLLMModel) -> int:
    """Return the bytes of one number: two as vLLM chooses even for weights of four, or four if asked for."""
    return 4 if model.engine.get("dtype") in WIDE else 2


def _number(config: Mapping[str, Any], name: str) -> int | None:
    found = config.get(name)
    return found if isinstance(found, int) and found > 0 else None

"""How much memory the places for LoRA adapters take, which vLLM reserves when an engine starts.

Each place has two matrices for every linear layer, as wide as the layer and as deep as the highest rank, whether
an adapter uses it or not (vllm/lora/layers): one from the layer's input to the rank, one from there to its output.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from deployments.config import VLLMModel
from deployments.models.adapters import adapter_folder, engine_options


def places_bytes(model: VLLMModel, shape: Mapping[str, Any], number_bytes: int) -> int:
    """Return the bytes of all places of one replica: 0 without adapters, or where the model's shape is not known."""
    folders = list[Any]()
    for module in model.lora_modules:
        with suppress(ValueError, OSError):  # said when the model loads
            folders.append(adapter_folder(module))
    try:
        options = {**engine_options(model, folders), **model.engine}
        if not options.get("enable_lora"):
            return 0
        return int(options["max_loras"]) * int(options["max_lora_rank"]) * _width(shape) * number_bytes
    except (KeyError, TypeError, ValueError, OSError):
        return 0


def _width(shape: Mapping[str, Any]) -> int:
    """Return the inputs and outputs of all linear layers of a Llama-like model, of embeddings and head too."""
    hidden, inner, layers, heads = (
        int(shape[name]) for name in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    )
    head = int(shape.get("head_dim") or hidden // heads)
    queries, keys = heads * head, int(shape.get("num_key_value_heads") or heads) * head
    attention = 2 * (hidden + queries) + 2 * (hidden + keys)
    return layers * (attention + 3 * (hidden + inner)) + 2 * (hidden + int(shape["vocab_size"]))

"""A GGUF file of the Llama architecture: its tensors under transformers' names, and its configuration."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader, ReaderTensor, dequantize

from deployments.weights.safetensors_file import FloatArray, Tensor

ARCHITECTURE = "llama"
OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
INNER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""The tensors of a layer (`blk.N.NAME.weight`)."""


class UnknownArchitecture(ValueError):
    """The file holds a model that cannot be converted."""


class LlamaFile:
    """An open file; reading its header takes seconds, its tensors are read when they are asked for."""

    def __init__(self, path: Path) -> None:
        reader = GGUFReader(path)
        self.fields: dict[str, Any] = {name: field.contents() for name, field in reader.fields.items()}
        self._tensors = reader.tensors
        if (found := self.fields.get("general.architecture")) != ARCHITECTURE:
            raise UnknownArchitecture(f"its architecture is {found}, and only {ARCHITECTURE} can be converted")

    def tensors(self) -> dict[str, Tensor]:
        """Return every tensor of the file by transformers' name; UnknownArchitecture if one has none."""
        named = {_name(tensor.name): tensor for tensor in self._tensors}
        # GGUF counts dimensions from the innermost.
        return {
            name: Tensor(tuple(int(size) for size in reversed(tensor.shape)), self._values(name, tensor))
            for name, tensor in named.items()
        }

    def config(self) -> dict[str, Any]:
        """Return config.json."""
        heads, width = self._field("attention.head_count"), self._field("embedding_length")
        bos, eos = (self.fields.get(f"tokenizer.ggml.{end}_token_id") for end in ("bos", "eos"))
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "dtype": "bfloat16",
            "vocab_size": len(self.fields["tokenizer.ggml.tokens"]),
            "hidden_size": width,
            "intermediate_size": self._field("feed_forward_length"),
            "num_hidden_layers": self._field("block_count"),
            "num_attention_heads": heads,
            "num_key_value_heads": self._field("attention.head_count_kv"),
            "head_dim": width // heads,
            "hidden_act": "silu",
            "max_position_embeddings": self._field("context_length"),
            "rms_norm_eps": round(self._field("attention.layer_norm_rms_epsilon"), 12),
            "rope_parameters": {"rope_type": "default", "rope_theta": self._field("rope.freq_base")},
            "tie_word_embeddings": "output.weight" not in {tensor.name for tensor in self._tensors},
            "attention_bias": False,
            "mlp_bias": False,
            "bos_token_id": bos,
            "eos_token_id": eos,
        }

    def _values(self, name: str, tensor: ReaderTensor) -> Callable[[], FloatArray]:
        heads = {
            "q_proj.weight": self._field("attention.head_count"),
            "k_proj.weight": self._field("attention.head_count_kv"),
        }
        count = next((number for end, number in heads.items() if name.endswith(end)), None)
        return partial(_dequantized, tensor, count)

    def _field(self, name: str) -> Any:
        return self.fields[f"{ARCHITECTURE}.{name}"]


def _name(name: str) -> str:
    """Return transformers' name of a tensor."""
    stem = name.removesuffix(".weight")
    if stem != name and stem in OUTER:
        return f"{OUTER[stem]}.weight"
    block, _, inner = stem.removeprefix("blk.").partition(".")
    if stem != name and block.isdecimal() and inner in INNER:
        return f"model.layers.{block}.{INNER[inner]}.weight"
    raise UnknownArchitecture(f"its tensor {name} has no place in a plain Llama")


def _dequantized(tensor: ReaderTensor, heads: int | None) -> FloatArray:
    values = np.asarray(dequantize(tensor.data, tensor.tensor_type), np.float32)
    return values if heads is None else unpermuted(values, heads)


def unpermuted(values: FloatArray, heads: int) -> FloatArray:
    """Undo what GGUF does to the rows of queries and keys.

    llama.cpp rotates neighbouring pairs of a head's dimensions, transformers the two halves of a head against
    each other; so its converter interleaves the halves (`LlamaModel.permute` in convert_hf_to_gguf.py).
    """
    pairs = values.shape[0] // heads // 2
    return values.reshape(heads, pairs, 2, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)

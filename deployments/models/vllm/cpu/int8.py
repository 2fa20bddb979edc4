"""Weights of 8 bits on a CPU, made from those of 16 while a model loads: `quantization: int8_cpu` of an engine.

Each output channel has a scale of its own, and so has each token's input, found when it is computed (W8A8 dynamic).
A step of a small model reads all weights once, so half the bytes is nearly half the time. Embeddings keep their type.
"""

from typing import Any

import torch
from vllm import _custom_ops as ops
from vllm.model_executor.layers.linear import LinearBase, UnquantizedLinearMethod
from vllm.model_executor.layers.quantization import register_quantization_config
from vllm.model_executor.layers.quantization.base_config import QuantizationConfig, QuantizeMethodBase
from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead, UnquantizedEmbeddingMethod

QUANTIZATION = "int8_cpu"
LARGEST = torch.iinfo(torch.int8).max
CACHED_SHAPES = 32
"""Numbers of tokens for which oneDNN keeps its prepared kernel, as vLLM has it."""


class Int8LinearMethod(UnquantizedLinearMethod):
    """A linear layer whose weights are loaded as they are and kept in 8 bits."""

    def process_weights_after_loading(self, layer: Any) -> None:
        """Pack the weights for oneDNN and free the loaded ones."""
        _pack(layer)
        layer.weight = torch.nn.Parameter(torch.empty(0, dtype=layer.weight.dtype), requires_grad=False)

    def apply(self, layer: Any, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """Return x times the weights, plus the bias; x has any number of leading dimensions."""
        return _product(layer, x, bias)


class Int8HeadMethod(UnquantizedEmbeddingMethod):
    """The output layer; its weights stay as they are besides, since the embeddings may be the same ones."""

    def process_weights_after_loading(self, layer: Any) -> None:
        """Pack a copy of the weights for oneDNN."""
        _pack(layer)

    def apply(self, layer: Any, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """Return the logits of x."""
        return _product(layer, x, bias)


def _pack(layer: Any) -> None:
    weight = layer.weight.data.float()
    scales = weight.abs().amax(dim=1, keepdim=True).div_(LARGEST).clamp_(min=torch.finfo(torch.float32).tiny)
    layer.int8_scales = scales  # oneDNN keeps their address alone
    packed = (weight / scales).round_().to(torch.int8)
    layer.int8 = ops.create_onednn_scaled_mm(packed.t(), scales, layer.weight.dtype, True, False, CACHED_SHAPES)


def _product(layer: Any, x: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    rows = x.reshape(-1, x.shape[-1])
    quantized, scales, _ = ops.onednn_scaled_int8_quant(rows.contiguous())
    out = torch.empty((rows.shape[0], layer.int8.n), dtype=x.dtype)
    ops.onednn_scaled_mm(layer.int8, quantized, out, scales, None, None, bias)
    return out.reshape(*x.shape[:-1], layer.int8.n)


@register_quantization_config(QUANTIZATION)
class Int8Config(QuantizationConfig):
    """What vLLM asks of a quantization; it has no settings."""

    def get_name(self) -> Any:
        return QUANTIZATION

    def get_supported_act_dtypes(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float32]

    @classmethod
    def get_min_capability(cls) -> int:
        return -1

    @staticmethod
    def get_config_filenames() -> list[str]:
        return []

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Int8Config":
        return cls()

    def get_quant_method(self, layer: torch.nn.Module, prefix: str) -> QuantizeMethodBase | None:
        """Return the method of a linear or the output layer; None leaves every other layer as it is."""
        if isinstance(layer, ParallelLMHead):
            return Int8HeadMethod()
        return Int8LinearMethod() if isinstance(layer, LinearBase) else None

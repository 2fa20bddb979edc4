"""Weights of 8 bits on a CPU, made from those of 16 while a model loads: `quantization: int8_cpu` of an engine.

Each output channel has a scale of its own, and so has each token's input, found when it is computed (W8A8 dynamic).
A step of a small model reads all weights once, so half the bytes is nearly half the time. Embeddings and the output
layer keep their type.
"""

from typing import Any

import torch
from vllm import _custom_ops as ops
from vllm.model_executor.layers.linear import LinearBase, LinearMethodBase, UnquantizedLinearMethod
from vllm.model_executor.layers.quantization import register_quantization_config
from vllm.model_executor.layers.quantization.base_config import QuantizationConfig

QUANTIZATION = "int8_cpu"
LARGEST = torch.iinfo(torch.int8).max
CACHED_SHAPES = 32
"""Numbers of tokens for which oneDNN keeps its prepared kernel, as vLLM has it."""


class Int8LinearMethod(UnquantizedLinearMethod):
    """A linear layer whose weights are loaded as they are and kept in 8 bits."""

    def process_weights_after_loading(self, layer: Any) -> None:
        """Pack the weights for oneDNN and let go of the loaded ones."""
        weight = layer.weight.data.float()
        scales = weight.abs().amax(dim=1, keepdim=True).div_(LARGEST).clamp_(min=torch.finfo(torch.float32).tiny)
        layer.int8_scales = scales  # oneDNN keeps their address alone
        packed = (weight / scales).round_().to(torch.int8)
        dtype = layer.weight.dtype
        layer.int8 = ops.create_onednn_scaled_mm(packed.t(), scales, dtype, True, False, CACHED_SHAPES)
        layer.weight = torch.nn.Parameter(torch.empty(0, dtype=dtype), requires_grad=False)

    def apply(self, layer: Any, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """Return x times the weights, plus the bias; x has any number of leading dimensions."""
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

    def get_quant_method(self, layer: torch.nn.Module, prefix: str) -> LinearMethodBase | None:
        """Return the method of a linear layer; None leaves every other layer as it is."""
        return Int8LinearMethod() if isinstance(layer, LinearBase) else None

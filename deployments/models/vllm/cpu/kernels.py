"""vLLM's C kernels for norms and activation on a CPU.

They are in its build for CPUs, but vLLM composes these operations of PyTorch's there, five or six for each norm, and
leaves it to its compiler to fuse them. Without compilation that is a sixth of the step of a small model.
"""

import torch
from torch import Tensor
from vllm import ir
from vllm.model_executor.layers.activation import SiluAndMul

PROVIDER = "cpu_c"
LANES = 32
"""A norm's width must be a multiple of what a kernel reads at once: 16 numbers, or 32 of 16 bits."""


def use_kernels() -> None:
    """Offer the kernels to vLLM under the name `PROVIDER`; repeating it does no harm."""
    if PROVIDER in ir.ops.rms_norm.impls:
        return
    ir.ops.rms_norm.register_impl(PROVIDER, supports_args=_is_plain)(_rms_norm)
    ir.ops.fused_add_rms_norm.register_impl(PROVIDER, supports_args=_is_plain_sum, inplace=True)(_fused_add_rms_norm)
    SiluAndMul.forward_cpu = _silu_and_mul


def _is_plain(x: Tensor, weight: Tensor | None, epsilon: float, variance_size: int | None = None) -> bool:
    return (
        variance_size is None
        and weight is not None
        and weight.dtype == x.dtype
        and x.is_contiguous()
        and x.shape[-1] % LANES == 0
    )


def _is_plain_sum(
    x: Tensor, x_residual: Tensor, weight: Tensor | None, epsilon: float, variance_size: int | None = None
) -> bool:
    return x_residual.is_contiguous() and _is_plain(x, weight, epsilon, variance_size)


def _rms_norm(x: Tensor, weight: Tensor | None, epsilon: float, variance_size: int | None = None) -> Tensor:
    normed = torch.empty_like(x)
    torch.ops._C.rms_norm(normed, x, weight, epsilon)
    return normed


def _fused_add_rms_norm(
    x: Tensor, x_residual: Tensor, weight: Tensor | None, epsilon: float, variance_size: int | None = None
) -> tuple[Tensor, Tensor]:
    torch.ops._C.fused_add_rms_norm(x, x_residual, weight, epsilon)
    return x, x_residual


def _silu_and_mul(self: SiluAndMul, x: Tensor) -> Tensor:
    width = x.shape[-1] // 2
    if width % LANES or not x.is_contiguous():
        return self.forward_native(x)
    product = torch.empty((*x.shape[:-1], width), dtype=x.dtype)
    torch.ops._C.silu_and_mul(product, x)
    return product

"""What an engine on a CPU computes by other means than vLLM's is what vLLM computes.

vllm is imported by the tests alone: that takes seconds, and its build may be one for GPUs.
"""

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # vLLM's own imports

VOCABULARY = 5_000
EPSILON = 1e-5
WIDTH, CHANNELS = 576, 960


@pytest.fixture(scope="module")
def torch() -> Any:
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        pytest.skip("kernels of vLLM's build for CPUs")
    current_platform.import_kernels()
    import torch

    torch.manual_seed(7)
    return torch


def logits(torch: Any, spread: float) -> Any:
    return torch.randn((6, VOCABULARY), generator=torch.Generator().manual_seed(7)) * spread


@pytest.mark.parametrize("spread", [8.0, 3.0, 0.1], ids=["peaked", "mixed", "flat"])
@pytest.mark.parametrize(("has_k", "has_p"), [(False, True), (True, True), (True, False), (False, False)])
def test_top_k_and_top_p_keep_the_tokens_that_a_sort_keeps(torch: Any, spread: float, has_k: bool, has_p: bool) -> None:
    from vllm.v1.sample.ops.topk_topp_sampler import apply_top_k_top_p_pytorch

    from deployments.models.vllm.cpu.top_p import apply_top_k_top_p

    def masks() -> tuple[Any, Any]:  # vLLM writes to them
        k = torch.tensor([20, VOCABULARY, 1, 200, 50, 40]) if has_k else None
        return k, torch.tensor([0.9, 0.5, 1.0, 0.99, 0.0001, 0.95]) if has_p else None

    kept = apply_top_k_top_p(logits(torch, spread), *masks())
    expected = apply_top_k_top_p_pytorch(logits(torch, spread), *masks(), allow_cpu_sync=True)
    assert torch.equal(kept, expected)


def test_only_sequences_that_need_more_candidates_are_sorted(torch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from deployments.models.vllm.cpu import top_p

    sort: Callable[..., Any] = top_p.apply_top_k_top_p_pytorch
    sizes: list[int] = []

    def counted(rows: Any, *masks: Any) -> Any:
        sizes.append(len(rows))
        return sort(rows, *masks)

    monkeypatch.setattr(top_p, "apply_top_k_top_p_pytorch", counted)
    both = torch.cat([logits(torch, 8.0), logits(torch, 0.1)[:2]])
    top_p.apply_top_k_top_p(both, None, torch.full((8,), 0.9))
    assert sizes == [2]
    assert (both[6:] > -torch.inf).sum() > 2 * top_p.CANDIDATES


@pytest.mark.parametrize("repetition", [1.0, 1.3], ids=["", "repetition"])
@pytest.mark.parametrize("answers", [[[], [], []], [[5], [], [5, 5, 4_999, 0, 5]], [[0], [7, 7], [1]]])
def test_penalties_are_vllms(torch: Any, answers: list[list[int]], repetition: float) -> None:
    from vllm.v1.sample.ops import penalties

    from deployments.models.vllm.cpu.penalties import apply_all_penalties

    prompts = torch.tensor([[5, 6], [7, VOCABULARY], [0, 1]])
    presence, frequency = torch.tensor([0.5, 0.0, -1.0]), torch.tensor([0.0, 0.5, 2.0])
    weights = prompts, presence, frequency, torch.tensor([1.0, repetition, 1.0]), answers
    found, expected = (
        apply(logits(torch, 1.0)[:3], *weights) for apply in (apply_all_penalties, penalties.apply_all_penalties)
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("width", [576, 2048])
def test_norms_and_activation(torch: Any, dtype: str, width: int) -> None:
    from vllm import ir

    from deployments.models.vllm.cpu.kernels import PROVIDER, use_kernels

    use_kernels()
    use_kernels()  # a process may hold two engines
    x, residual, weight = (torch.randn(*shape, width).to(getattr(torch, dtype)) for shape in ((5,), (5,), ()))
    close = {"rtol": 2e-2, "atol": 2e-2}
    native, fast = (ir.ops.rms_norm.impls[name].impl_fn for name in ("native", PROVIDER))
    torch.testing.assert_close(fast(x, weight, EPSILON), native(x, weight, EPSILON), **close)
    native, fast = (ir.ops.fused_add_rms_norm.impls[name].impl_fn for name in ("native", PROVIDER))
    expected = native(x.clone(), residual.clone(), weight, EPSILON)
    torch.testing.assert_close(fast(x, residual, weight, EPSILON), expected, **close)


def test_what_the_norms_kernels_cannot_do_is_left_to_vllm(torch: Any) -> None:
    from vllm import ir

    from deployments.models.vllm.cpu.kernels import PROVIDER, use_kernels

    use_kernels()
    takes = ir.ops.rms_norm.impls[PROVIDER].supports_args
    x, weight = torch.zeros(2, 576), torch.zeros(576)
    assert takes(x, weight, EPSILON)
    assert not takes(x, None, EPSILON)
    assert not takes(x, weight.bfloat16(), EPSILON)
    assert not takes(x, weight, EPSILON, 64)
    assert not takes(torch.zeros(2, 1152)[:, :576], weight, EPSILON)
    assert not takes(torch.zeros(2, 40), torch.zeros(40), EPSILON)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("shape", [(1, WIDTH), (17, WIDTH), (2, 3, WIDTH)], ids=["one", "many", "three dimensions"])
def test_a_layer_of_8_bits_computes_what_the_loaded_weights_compute(
    torch: Any, shape: tuple[int, ...], dtype: str
) -> None:
    from deployments.models.vllm.cpu.int8 import Int8LinearMethod

    layer = torch.nn.Linear(WIDTH, CHANNELS, dtype=getattr(torch, dtype)).requires_grad_(False)
    layer.weight[0] = 0  # a channel without any weight has no scale
    x = torch.randn(shape).to(layer.weight.dtype)
    expected = torch.nn.functional.linear(x, layer.weight, layer.bias)
    method = Int8LinearMethod.__new__(Int8LinearMethod)  # vLLM's constructor needs a whole configuration
    method.process_weights_after_loading(layer)
    found = method.apply(layer, x, layer.bias)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    error = (found.float() - expected.float()).norm() / expected.float().norm()
    assert float(error) < 0.015
    assert layer.weight.numel() == 0  # the loaded weights are gone


def test_output_layer_in_8_bits_keeps_the_weights_that_embeddings_share(torch: Any) -> None:
    from deployments.models.vllm.cpu.int8 import Int8HeadMethod

    head = torch.nn.Linear(WIDTH, CHANNELS, bias=False, dtype=torch.bfloat16).requires_grad_(False)
    x, before = torch.randn(3, WIDTH).bfloat16(), head.weight.clone()
    method = Int8HeadMethod()
    method.process_weights_after_loading(head)
    expected = torch.nn.functional.linear(x, before)
    error = (method.apply(head, x).float() - expected.float()).norm() / expected.float().norm()
    assert float(error) < 0.015
    assert torch.equal(head.weight, before)


def test_vllm_knows_8_bits_by_name_and_only_linear_layers_have_them(torch: Any) -> None:
    from vllm.model_executor.layers.quantization import get_quantization_config

    from deployments.models.vllm.cpu.int8 import QUANTIZATION, Int8Config

    assert get_quantization_config(QUANTIZATION) is Int8Config
    assert Int8Config().get_quant_method(torch.nn.Embedding(2, 2), "model.embed_tokens") is None


@pytest.mark.usefixtures("torch")
def test_vllm_still_calls_what_the_worker_replaces() -> None:
    import inspect

    from vllm.v1.sample.ops.topk_topp_sampler import TopKTopPSampler

    from deployments.models.vllm.cpu.worker import SAMPLERS

    assert "apply_top_k_top_p(logits, k, p)" in inspect.getsource(TopKTopPSampler.forward_cpu)
    assert all("apply_all_penalties(\n" in inspect.getsource(module) for module in SAMPLERS)

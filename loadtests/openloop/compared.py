"""What a report says about itself, and beside an earlier one."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from loadtests.openloop.figures import GENERATOR_LATE_MS

Document = dict[str, Any]
MODEL_HOPS = frozenset({"queue", "prefill", "first-frame", "decode", "total"})
"""Hops that are the model's; the rest is what the service adds."""


def overhead_ms(hops_ms: Mapping[str, float]) -> float:
    """Return what the service adds to a request: all hops but the model's."""
    return round(sum(value for name, value in hops_ms.items() if name not in MODEL_HOPS), 3)


def warnings(report: Document) -> Iterator[str]:
    """Yield what makes the figures less than they seem."""
    if report["was_stopped"]:
        yield "The run was stopped; its last step is shorter than the others."
    if any(step["generator_late_ms_p99"] > GENERATOR_LATE_MS for step in report["steps"]):
        yield (
            f"The generator sent requests more than {GENERATOR_LATE_MS:g} ms late (p99): it, or the machine "
            "that it shares with the service, was part of the limit."
        )
    if not any("replicas" in point for point in report["watched"]):
        yield "Replicas and engines were not watched: Ray's dashboard was not reached (--dashboard)."


COMPARED = (
    ("answers/s", ("delivered_per_s",), True),
    ("goodput/s", ("goodput_per_s",), True),
    ("tokens/s", ("output_tokens_per_s",), True),
    ("TTFT p50 ms", ("ttft_ms", "p50"), False),
    ("TTFT p95 ms", ("ttft_ms", "p95"), False),
    ("TTFT p99 ms", ("ttft_ms", "p99"), False),
    ("TPOT p95 ms", ("tpot_ms", "p95"), False),
    ("E2E p95 ms", ("e2e_ms", "p95"), False),
)
"""Name, place in a step, and whether more is better."""


def compared(report: Document, before: Document | None) -> Iterator[tuple[float, str, float, float, bool]]:
    """Yield rate, figure, earlier and present value, and whether more of it is better, for rates that both have."""
    earlier = {step["rate"]: step for step in (before or {}).get("steps", [])}
    for step in sorted(report["steps"], key=lambda step: step["rate"]):
        for name, place, is_better in COMPARED if step["rate"] in earlier else ():
            old, new = (_at(one, place) for one in (earlier[step["rate"]], step))
            if old is not None and new is not None:
                yield step["rate"], name, old, new, is_better


def _at(step: Document, place: Sequence[str]) -> float | None:
    value: Any = step
    for name in place:
        value = value.get(name) if isinstance(value, dict) else None
    return value

"""Prints how true a `Retry-After` is at several times the capacity, and what a flood does to another key."""

import statistics

from tests.overload.flood import WITHOUT_QUEUE, Flooded
from tests.overload.service import Load, Run, Service
from tests.scaling.engine import MAX_RUNNING

RUNS = "| times the capacity | requests | refused | Retry-After is off by | let in at the first retry | wait off by |"
FLOODS = "| streams of the flood | queue | first token p50 | p95 | tokens/s |"


def described(run: Run) -> str:
    """Return the figures of a run as a row."""
    refused = sum(asked.attempts > 1 for asked in run.asked)
    let_in = f"{run.let_in_at_first_retry:.1%}" if refused else "–"
    return " | ".join(map(str, [len(run.asked), refused, off(run.room_errors), let_in, off(run.wait_errors)]))


def off(errors: list[float]) -> str:
    """Return the median of errors, with and without their signs."""
    if not errors:
        return "–"
    return f"{statistics.median(errors):+.1%}, ±{statistics.median(map(abs, errors)):.1%}"


def tables() -> str:
    """Return both tables."""
    rows = [RUNS, "| --- | --- | --- | --- | --- | --- |"]
    rows += [f"| {times} | {described(Service(Load(times)).simulate())} |" for times in (0.8, 1.2, 2.0, 3.0)]
    rows += ["", FLOODS, "| --- | --- | --- | --- | --- |"]
    for streams, name, capacity in ((0, "–", MAX_RUNNING), (512, "no", WITHOUT_QUEUE), (512, "fair", MAX_RUNNING)):
        found = Flooded(streams, capacity).figures()
        ttft = f"{found.ttft_p50_s * 1000:.0f} ms | {found.ttft_p95_s * 1000:.0f} ms"
        rows.append(f"| {streams} | {name} | {ttft} | {found.tokens_per_s:,.0f} |")
    return "\n".join(rows)


if __name__ == "__main__":
    print(tables())  # noqa: T201 - it is what this is for

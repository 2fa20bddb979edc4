"""What a model's replica reports to Serve's controller, and the names of these figures."""

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Load:
    """The load of one replica, or the sum over several of them; `max_…` is what they can hold."""

    running: float = 0.0
    """Requests that have a token."""
    waiting: float = 0.0
    """Requests without one: they are queued, or their prompt is being read."""
    queued: float = 0.0
    """Its part of the requests that wait in ingress replicas, and at none of the model's yet."""
    max_running: float = 0.0
    kv_cache: float = 0.0
    """How much of the KV cache is in use, 1 for all of it; 0 where that is no bound."""
    busy: float = 0.0
    """The share of time in which there was something to compute."""
    steps_per_s: float = 0.0
    """Steps of the engine per second."""
    step_s: float = 0.0
    """Seconds that a step takes for one sequence, which is the cost of a step as such; 0 while it is not known."""
    asked_tokens_per_s: float = 0.0
    """Tokens of prompts that arrived per second."""
    read_tokens_per_s: float = 0.0
    """Tokens of prompts that were read per second."""
    ttft_s: float = 0.0
    """Seconds to the first token: of those that came lately, or of the request that waits longest if that is more."""
    target_ttft_s: float = 0.0
    """The goal for `ttft_s`; 0 for none."""

    def reported(self) -> dict[str, float]:
        """Return the figures as Serve's `record_autoscaling_stats` returns them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


FIGURES = tuple(field.name for field in fields(Load))


@dataclass(frozen=True, slots=True)
class Rate:
    """What happened per second between two looks at an engine."""

    busy: float
    steps_per_s: float
    asked_tokens_per_s: float
    read_tokens_per_s: float


class Rates:
    """From an engine's counters, which only grow, to what happened per second since the last look."""

    def __init__(self) -> None:
        self._before: tuple[float, float, float, float, float] | None = None

    def since_last(self, now: float, busy_s: float, steps: float, read_tokens: float, waiting_tokens: float) -> Rate:
        """Return the rates since the last call, all zero at the first.

        `waiting_tokens` are those of the prompts that wait now: what arrived is what was read and what more waits. A
        request that is given up counts as one that never came.
        """
        before, self._before = self._before, (now, busy_s, steps, read_tokens, waiting_tokens)
        if before is None or now <= before[0]:
            return Rate(0.0, 0.0, 0.0, 0.0)
        seconds = now - before[0]
        read = max(0.0, read_tokens - before[3])
        asked = max(0.0, read + waiting_tokens - before[4])
        busy = min(1.0, max(0.0, busy_s - before[1]) / seconds)
        return Rate(busy, max(0.0, steps - before[2]) / seconds, asked / seconds, read / seconds)


class Mean:
    """The mean of the values since it was last taken, in constant memory: Serve asks only where a deployment scales."""

    def __init__(self) -> None:
        self._sum = 0.0
        self._count = 0

    def add(self, *values: float) -> None:
        """Count values in."""
        self._sum += sum(values)
        self._count += len(values)

    def take(self) -> float:
        """Return the mean since the last call, 0 where nothing came."""
        found = self._sum / self._count if self._count else 0.0
        self._sum, self._count = 0.0, 0
        return found

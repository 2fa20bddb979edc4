"""What compiling grammars costs a model's replica."""

import functools
from typing import Any

from ray.serve.metrics import Counter


def count_grammar(model: str, outcome: str, cpu_s: float) -> None:
    """Count a grammar by what was found out about it, and the CPU time (seconds) that this took."""
    grammars, seconds = _counters()
    grammars.inc(1, {"model": model, "outcome": outcome})
    if cpu_s:
        seconds.inc(cpu_s, {"model": model})


def _keys(*names: str) -> Any:
    return names  # Ray's stubs say a tuple of one


@functools.cache
def _counters() -> tuple[Counter, Counter]:
    return (
        Counter("chatllm_grammars_total", "Grammars by outcome of their check.", _keys("model", "outcome")),
        Counter("chatllm_grammar_cpu_seconds_total", "CPU seconds that checking grammars took.", _keys("model")),
    )

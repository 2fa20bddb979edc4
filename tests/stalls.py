"""How long callbacks occupy an event loop, in CPU time: what other programs on the machine do hardly changes it."""

import asyncio
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass
class Occupied:
    """The longest callback since the watch began."""

    longest_s: float = 0.0
    callback: str = ""


@contextmanager
def watched_loop() -> Generator[Occupied]:
    """Measure every callback of asyncio's own event loops; what other threads compute does not count."""
    handle: Any = asyncio.Handle
    occupied, run = Occupied(), handle._run

    def timed(callback: Any) -> None:
        began = time.thread_time()
        run(callback)
        took = time.thread_time() - began
        if took > occupied.longest_s:
            occupied.longest_s, occupied.callback = took, repr(callback)[:500]

    handle._run = timed
    try:
        yield occupied
    finally:
        handle._run = run

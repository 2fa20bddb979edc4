"""Work that takes time in proportion to a request: in the event loop where it is small, in a thread where it is not."""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

LARGE_BYTES = 65_536
"""What is larger is worth a thread: the densest JSON of this size occupies the event loop for about 10 ms."""


async def run_sized(size: int, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Return what `work` returns for a request of `size` bytes, and let the event loop go on if that is large.

    Cancelling leaves the thread to end by itself: bound what it is given.
    """
    if size <= LARGE_BYTES:
        return work(*arguments, **named)
    return await asyncio.to_thread(work, *arguments, **named)

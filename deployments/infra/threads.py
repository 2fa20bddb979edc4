"""Work beside the event loop: what takes time in proportion to a request, and calls that may never return."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
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


def in_own_thread(name: str, work: Callable[[], T]) -> "Future[T]":
    """Return what `work` will return, from a thread of its own, which does not hold up the end of the process.

    For calls without a time limit, such as Ray's: one that never returns takes no place in an executor. The caller
    bounds how many there are.
    """
    answer: Future[T] = Future()

    def run() -> None:
        try:
            answer.set_result(work())
        except BaseException as error:  # noqa: BLE001 - the boundary of the thread: whoever waits gets it
            answer.set_exception(error)

    Thread(target=run, name=name, daemon=True).start()
    return answer

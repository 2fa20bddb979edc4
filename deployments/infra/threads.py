"""Work beside the event loop: what takes time in proportion to a request, and calls that may never return."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import Generic, ParamSpec, TypeVar

logger = logging.getLogger(__name__)

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


class KeptAnswer(Generic[T]):
    """What a call without a time limit returned last, such as one to Ray's head, which may be away.

    It is made in a thread of its own, one at a time: no executor fills up, and the process can end.
    """

    def __init__(self, name: str, known: T) -> None:
        """`name` says what it is in the log; `known` is the answer until there is one."""
        self._name = name
        self._known = known
        self._answer: Future[T] | None = None

    async def of(self, work: Callable[[], T], timeout_s: float) -> T:
        """Return what `work` returns; what was known before where it fails, or does not end in time."""
        if self._answer is None:
            self._answer = in_own_thread(self._name.replace(" ", "-"), work)
        answer = self._answer
        await asyncio.wait([asyncio.wrap_future(answer)], timeout=timeout_s)
        if answer.done():
            self._take(answer)
        return self._known

    def _take(self, answer: "Future[T]") -> None:
        if self._answer is answer:
            self._answer = None
        try:
            self._known = answer.result()
        except Exception as error:  # noqa: BLE001 - Ray's errors of any kind: the rest is shown without it
            logger.warning("the %s cannot be read", self._name, extra={"reason": type(error).__name__})

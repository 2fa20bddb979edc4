"""Waiting for an answer to begin, while its model has no replica or is slow."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from deployments.chat.generation import Subscription
from deployments.chat.summary import Summary
from deployments.models.holding import Hold

BEGUN = b""
WAITING = b":"
"""What a stream yields before its frames; neither is sent."""

QUEUED_S = 1.0
"""After this time a client is told that it waits in the queue."""

T = TypeVar("T")


async def held_until(take: Callable[[float | None], Awaitable[T]], hold: Hold | None) -> T:
    """Return what `take` returns, given how many seconds it may take; raises ModelLoading once the hold expires."""
    if hold is None:
        return await take(None)
    while True:
        try:
            return await take(hold.left_s())
        except TimeoutError:
            hold.check()


def leave(answer: Subscription, hold: Hold | None, summary: Summary) -> None:
    """Give answer and place back; a generation that ends with this, before any replica heard of it, costs nothing."""
    is_waiting = summary.job.is_waiting or (hold is not None and hold.is_open and hold.left_s() is not None)
    answer.close()
    if hold is not None:
        hold.close()
    if is_waiting and answer.is_stopped:
        summary.generation = None


def notice(hold: Hold | None, summary: Summary) -> str | None:
    """Return what a client sees whose answer has not begun; None where there is nothing in particular to say."""
    notice = hold.notice() if hold else None
    where = None if notice else summary.job.notice()
    return notice if where is None else str(where)


async def first_frames(
    answer: Subscription, hold: Hold | None, summary: Summary, silence_s: float | None
) -> bytes | None:
    """Return the first frames; raises TimeoutError once the client must be told that it waits, and for what."""
    if hold is not None:
        return await answer.next(0.0)
    if silence_s is not None and silence_s <= QUEUED_S:
        return await answer.next(silence_s)
    with suppress(TimeoutError):
        return await answer.next(QUEUED_S)
    if summary.job.is_waiting:
        raise TimeoutError
    return await answer.next(None if silence_s is None else silence_s - QUEUED_S)

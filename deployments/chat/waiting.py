"""Waiting for an answer to begin, while its model has no replica or is slow."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from deployments.chat.generation import Subscription
from deployments.chat.summary import Summary
from deployments.models.holding import Hold

BEGUN = b""
WAITING = b":"
"""What a stream yields before its frames; neither is sent."""

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
    answer.close()
    if hold is not None:
        is_waiting = hold.is_open and hold.left_s() is not None
        hold.close()
        if is_waiting and answer.is_stopped:
            summary.generation = None


def nothing() -> None:
    """Say nothing in particular to a client whose answer takes long to begin."""

"""One response while it is generated in the background: its events so far, and how it ends."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Protocol

from deployments.chat.cost import Cost
from deployments.chat.summary import Summary
from deployments.errors import ChatLLMError
from deployments.models.assembly import payloads
from deployments.responses.events import Event, Translator, frame
from deployments.responses.live import LiveEvents
from deployments.responses.objects import response_object
from deployments.responses.service import closed
from deployments.responses.types import Ending, StoredResponse


class Held(Protocol):
    """What a response holds of its key's limits while it is generated: a place, and the tokens that it may use."""

    def record(self) -> dict[str, Any]:
        """Return what another replica needs to go on holding it."""
        ...

    def leave(self) -> None:
        """Let another replica go on holding it."""
        ...

    def end(self, tokens: int) -> None:
        """Give it back; `tokens` were really used. Returns at once, and only the first call counts."""
        ...


class Places(Protocol):
    """What bounds how many responses a key runs at once."""

    async def take(self, key_id: str) -> Held:
        """Return a place, which must be ended; raises TooManyRequests if all are taken."""
        ...

    def retake(self, key_id: str, response_id: str) -> Held:
        """Return a place for a response of a replica that is lost, whether or not one is free."""
        ...


class Run:
    """One response being generated; its events are numbered from the translator's next number on."""

    def __init__(self, response: StoredResponse, translator: Translator, held: Held | None = None) -> None:
        self.response = response
        self.summary = Summary()
        self.status = 200
        self.held = held
        self.place: Held | None = None
        """Its place among what its key runs in the background."""
        self.live = LiveEvents(translator.number)
        self.error: ChatLLMError | None = None
        self.is_cancelled = False
        self._translator = translator
        self._generating: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Show that there is such a response."""
        self._show([self._translator.created(response_object(self.response))])

    async def until_done(self, generating: asyncio.Task[None]) -> None:
        """Wait until the answer is whole, has failed or is stopped; cancelling this cancels it."""
        self._generating = generating
        try:
            if not self.is_cancelled:
                await asyncio.wait({generating})
        finally:
            generating.cancel()
            await asyncio.wait({generating})

    def stop(self) -> None:
        """End the answer as cancelled, unless it has ended already."""
        if self._generating is None:
            self.is_cancelled = True
        elif not self._generating.done():
            self.is_cancelled = True
            self._generating.cancel()

    async def consume(self, frames: AsyncGenerator[bytes]) -> None:
        """Take the frames of a chat completion to their end; the summary says who answers, or whether the cache did."""
        self.response = self.response.answered_by(self.summary.model)
        answering = response_object(replace(self.response, status="in_progress"))
        self._show([self._translator.answering(answering, self.summary.cache)])
        async with aclosing(frames):
            async for data in frames:
                self._show([event for chunk in payloads(data) for event in self._translator.add(chunk)])

    def settle(self, cost: Cost) -> None:
        """Give back what it holds of its key's limits."""
        if self.held is not None:
            self.held.end(cost.tokens)

    def close(self) -> tuple[list[bytes], Ending]:
        """Return the last events, not shown yet, and how it ended, with all events that are still to be written."""
        status = "cancelled" if self.is_cancelled else None
        last, ending = closed(self._translator, self.response, self.error, status)
        frames = self.live.unwritten() + b"".join(last)
        return last, replace(ending, frames=frames, last_number=self._translator.number - 1)

    def _show(self, events: list[Event]) -> None:
        if events:
            self.live.add(map(frame, events))

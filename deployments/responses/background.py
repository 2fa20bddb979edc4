"""Responses that run without a client: on this replica, or on the one that takes over when it is lost."""

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import replace
from functools import partial
from typing import Protocol

from deployments.config import ResponseSettings
from deployments.detached import detached
from deployments.errors import ChatLLMError, HistoryUnavailable, Overloaded, Unavailable
from deployments.history.writer import HistoryWriter, size_bytes
from deployments.models.assembly import payloads
from deployments.responses.events import Translator, frame
from deployments.responses.objects import response_object
from deployments.responses.request import Asked, chat_fields
from deployments.responses.service import Responses, chat_call, closed
from deployments.responses.store import LOST, ResponseStore
from deployments.responses.turn import Place, begun, messages_for
from deployments.responses.types import Batch, Claim, Ending, StoredResponse
from deployments.service import Answer, ChatService, NoTurn, Summary

log = logging.getLogger(__name__)

FLUSH_S = 0.2
MAX_ATTEMPTS = 3
RETRY_AFTER_S = 5.0


class Observer(Protocol):
    """Who is told of each run: metrics, limits, usage."""

    def began(self) -> None:
        """Count a run in."""
        ...

    def ended(self, request_id: str, key_id: str, summary: Summary, status: int, stream: bool) -> None:
        """Count a run out."""
        ...


class BackgroundTurn(NoTurn):
    """What a background response reads; its runner keeps what it says."""

    def __init__(self, messages: list[dict[str, object]], trims: bool) -> None:
        self._messages = messages
        self.is_stored = trims

    @property
    def messages(self) -> list[dict[str, object]]:
        return self._messages


class Run:
    """One response being generated, and the events that are not in the store yet."""

    def __init__(self, response: StoredResponse) -> None:
        self.response = response
        self.translator = Translator(response.id)
        self.error: ChatLLMError | None = None
        self.is_cancelled = False
        self._waiting = [frame(event) for event in self.translator.opening(response_object(response))]
        self._sending: Batch | None = None

    def batch(self) -> Batch | None:
        """Return what to write next: the same batch until it is `written`, since its outcome may be unknown."""
        if self._sending is None and self._waiting:
            self._sending = Batch(self.translator.number - 1, b"".join(self._waiting))
            self._waiting.clear()
        return self._sending

    def written(self) -> None:
        """Note that the last batch is in the store."""
        self._sending = None

    async def consume(self, frames: AsyncGenerator[bytes]) -> None:
        """Take the frames of a chat completion to their end."""
        async with aclosing(frames):
            async for data in frames:
                for chunk in payloads(data):
                    self._waiting.extend(frame(event) for event in self.translator.add(chunk))

    def discard(self) -> None:
        """Drop the opening events: another replica has written them."""
        self._waiting.clear()

    def ending(self) -> Ending:
        """Return how the response ended, with the events that are still to be written."""
        last, ending = closed(self.translator, self.response, self.error, "cancelled" if self.is_cancelled else None)
        rest = self._sending.frames if self._sending else b""
        frames = rest + b"".join(self._waiting) + last
        return replace(ending, frames=frames, last_number=self.translator.number - 1)


class BackgroundResponses:
    """Runs responses of this replica, and takes over those of lost ones."""

    def __init__(
        self,
        responses: Responses,
        chat: ChatService,
        store: ResponseStore,
        writer: HistoryWriter,
        settings: ResponseSettings,
        waiting_s: float,
        observer: Observer,
    ) -> None:
        """`waiting_s`: past it a response that a client waits for has been abandoned, no request takes so long."""
        self._responses = responses
        self._chat = chat
        self._store = store
        self._writer = writer
        self._settings = settings
        self._waiting_s = waiting_s
        self._observer = observer
        self._runner = secrets.token_hex(16)
        self._starting = 0
        self._runs: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.Task[None] | None = None

    @property
    def running(self) -> int:
        """Responses that this replica runs now."""
        return len(self._runs)

    async def open(self) -> None:
        """Begin to look for responses whose replica was lost."""
        self._sweeper = asyncio.create_task(self._sweep(), name="response-sweeper")

    async def aclose(self, timeout_s: float) -> None:
        """Let the runs end for `timeout_s`; what still runs then is left to other replicas."""
        if self._sweeper:
            self._sweeper.cancel()
            await asyncio.wait([self._sweeper])
        if not self._runs:
            return
        _, late = await asyncio.wait(self._runs, timeout=timeout_s)
        for run in late:
            run.cancel()
        if late:
            await asyncio.wait(late)
            with suppress(ChatLLMError):
                await self._store.release(self._runner)

    async def start(self, tenant: str, key_id: str, asked: Asked) -> StoredResponse:
        """Begin a response that is durable once this returns.

        Raises Overloaded if this replica runs as many as it may, else what `Responses.opened` raises.
        """
        if len(self._runs) + self._starting >= self._settings.max_background:
            raise Overloaded("This server runs as many background responses as it may.", None, RETRY_AFTER_S)
        self._starting += 1
        try:
            new, place = await self._responses.opened(tenant, key_id, asked, self._runner)
            await self._store.begin(new)
        finally:
            self._starting -= 1
        response = begun(new, place.is_hidden)
        self._launch(response, asked, place)
        return response

    def _launch(self, response: StoredResponse, asked: Asked, place: Place) -> None:
        run = detached(self._run(response, asked, place), f"background-{response.id}")
        self._runs.add(run)
        run.add_done_callback(self._runs.discard)

    async def _run(self, response: StoredResponse, asked: Asked, place: Place) -> None:
        run = Run(response)
        generating = asyncio.create_task(self._generate(run, asked, place))
        try:
            while not generating.done() and not run.is_cancelled:
                await asyncio.wait({generating}, timeout=FLUSH_S)
                run.is_cancelled = not await self._flush(run)
        finally:
            await _cancelled(generating)
        ending = run.ending()
        write = partial(self._store.end, response.tenant, response.id, self._runner, ending)
        weight = size_bytes(ending.output) + len(ending.frames or b"")
        lane = (response.tenant, response.conversation_id)
        self._writer.defer(*lane, write, (response.id,), weight, is_promised=True)

    async def _flush(self, run: Run) -> bool:
        """Give a sign of life and write what waits; False: the run is to stop. While the store is away all waits."""
        batch = run.batch()
        try:
            goes_on = await self._store.add_events(run.response.id, self._runner, batch)
        except HistoryUnavailable:
            return True
        if batch:
            run.written()
        return goes_on

    async def _generate(self, run: Run, asked: Asked, place: Place) -> None:
        summary, status = Summary(), 200
        self._observer.began()
        try:
            turn = BackgroundTurn(messages_for(asked, place), asked.trims)
            answer: Answer = await self._chat.answer(chat_call(run.response, asked, True), turn, summary)
            assert answer.frames is not None
            await run.consume(answer.frames)
        except ChatLLMError as error:
            run.error, status = error, error.status
        except asyncio.CancelledError:
            status = 499
            raise
        except Exception as error:  # the border of a run: whatever fails is the response's failure
            log.error("a background response failed", extra={"error": type(error).__name__}, exc_info=error)
            run.error, status = ChatLLMError(), 500
        finally:
            summary.failure = run.error
            self._observer.ended(run.response.id, run.response.key_id, summary, status, True)

    async def _sweep(self) -> None:
        """Take over what other replicas have lost, and drop old events, for ever.

        After an outage of the store nobody has given signs of life for a while: then everyone gets the time to.
        """
        pause_s = self._settings.stale_after_s / 2
        while True:
            await asyncio.sleep(pause_s)
            pause_s = self._settings.stale_after_s / 2
            try:
                await self._store.sweep(self._settings.events_ttl_s, self._waiting_s)
                room = self._settings.max_background - len(self._runs) - self._starting
                for claim in await self._store.claim(self._runner, self._settings.stale_after_s, max(0, room)):
                    await self._take_over(claim)
            except HistoryUnavailable:
                pause_s = self._settings.stale_after_s
            except Exception as error:  # the sweeper's border: one bad response must not end it
                log.error("a sweep failed", extra={"error": type(error).__name__}, exc_info=error)

    async def _take_over(self, claim: Claim) -> None:
        """Run a response again if no client has seen anything of it, else end it as failed."""
        response = claim.response
        log.warning("a response is taken over", extra={"response": response.id, "attempts": claim.attempts})
        if response.status == "cancelled" or claim.was_shown or claim.attempts > MAX_ATTEMPTS:
            run = Run(response)
            run.translator.number = claim.last_number + 1
            run.discard()
            run.is_cancelled = response.status == "cancelled"
            run.error = None if run.is_cancelled else Unavailable(LOST["message"])
            await self._store.end(response.tenant, response.id, self._runner, run.ending())
            return
        context = await self._responses.context_of(response)
        asked = Asked(response.request, (), chat_fields(response.request))
        self._launch(response, asked, Place(response.conversation_id, False, response.is_hidden, context))


async def _cancelled(task: asyncio.Task[None]) -> None:
    """Cancel a task that has not ended, and wait until it has."""
    task.cancel()
    await asyncio.wait([task])

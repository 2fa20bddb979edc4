"""Responses that run without a client on this replica; takeover.py goes on with those of lost ones."""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol

import orjson

from deployments.chat.call import Answer
from deployments.chat.cost import when_final
from deployments.chat.service import ChatService
from deployments.chat.summary import Summary
from deployments.config import ResponseSettings
from deployments.errors import ChatLLMError, HistoryUnavailable, NotFound, Overloaded
from deployments.history.writer import HistoryWriter, size_bytes
from deployments.infra.detached import detached
from deployments.infra.traces import trace
from deployments.infra.tracing import carried
from deployments.limits.estimate import prompt_tokens
from deployments.queueing.job import Job
from deployments.responses.following import follow
from deployments.responses.request import ADMISSION, ResponseCall
from deployments.responses.run import Held, Places, Run
from deployments.responses.service import Responses, chat_call, translator_of
from deployments.responses.store import ResponseStore
from deployments.responses.takeover import Takeover
from deployments.responses.turn import Unkept, begun, messages_for
from deployments.responses.types import Ending, NewResponse, StoredResponse

log = logging.getLogger(__name__)

Messages = list[dict[str, Any]]

FLUSH_S = 0.2
RETRY_AFTER_S = 5.0


class Observer(Protocol):
    """Who is told of each run: metrics, usage."""

    def began(self) -> None:
        """Count a run in."""
        ...

    def ended(self, request_id: str, key_id: str, summary: Summary, status: int, stream: bool) -> None:
        """Count a run out."""
        ...


class BackgroundResponses:
    """Runs responses of this replica, and takes over those of lost ones."""

    def __init__(
        self,
        responses: Responses,
        chat: ChatService,
        store: ResponseStore,
        writer: HistoryWriter,
        settings: ResponseSettings,
        waiting_s: Callable[[], float],
        observer: Observer,
        resume: Callable[[Mapping[str, Any]], Held] | None = None,
        places: Places | None = None,
    ) -> None:
        """`waiting_s`: past it a response that a client waits for has been abandoned, no request takes so long.

        `resume` goes on with what a lost replica held of a key's limits, from its record. `places` bounds what a key
        runs on all replicas; without them, there is no bound.
        """
        self._responses = responses
        self._chat = chat
        self._store = store
        self._writer = writer
        self._settings = settings
        self._observer = observer
        self._places = places
        self._runner = secrets.token_hex(16)
        self._takeover = Takeover(self, self._runner, responses, store, settings, waiting_s, resume)
        self._starting = 0
        self._runs: dict[str, Run] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._flusher: asyncio.Task[None] | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._runs_until = 0.0

    async def open(self) -> None:
        """Begin to look for responses whose replica was lost."""
        self._sweeper = asyncio.create_task(self._takeover.sweep_forever(), name="response-sweeper")

    def retire(self, timeout_s: float) -> None:
        """Take over nothing more of lost replicas: this one stops, and what runs may go on for `timeout_s` from now."""
        self._runs_until = time.monotonic() + timeout_s
        if self._sweeper:
            self._sweeper.cancel()

    async def aclose(self, timeout_s: float) -> None:
        """Let the runs end for `timeout_s`, or as long as `retire` said; what then still runs is left to others."""
        if self._sweeper:
            self._sweeper.cancel()
            await asyncio.wait([self._sweeper])
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=max(timeout_s, self._runs_until - time.monotonic()))
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
                with suppress(ChatLLMError):
                    await self._store.release(self._runner)
        if self._flusher:
            self._flusher.cancel()
            await asyncio.wait([self._flusher])

    async def start(
        self, tenant: str, key_id: str, requested: ResponseCall, held: Held | None = None, job: Job | None = None
    ) -> StoredResponse:
        """Begin a response that is durable once this returns; from then on it has `held`, and gives it back.

        It waits for its model as `job`. Raises TooManyRequests if the key, Overloaded if this replica runs as many as
        it may, else what `Responses.opened` raises.
        """
        if self.room <= 0:
            raise Overloaded("This server has reached its limit of background responses.", None, RETRY_AFTER_S)
        self._starting += 1
        place: Held | None = None
        try:
            place = await self._places.take(key_id) if self._places else None
            run, requested, messages = await self._begun(tenant, key_id, requested, held)
        except BaseException:
            if place is not None:
                place.end(0)
            raise
        finally:
            self._starting -= 1
        run.place = place
        if job is not None:
            run.summary.job, job.deadline_s, job.is_patient = job, None, True  # no client waits for it
        self.launch(run, requested, messages)
        return run.response

    async def _begun(
        self, tenant: str, key_id: str, requested: ResponseCall, held: Held | None
    ) -> tuple[Run, ResponseCall, Messages]:
        """Return the run of a response that is in the store from now on."""
        if held is not None:
            requested = replace(requested, request={**requested.request, ADMISSION: held.record()})
        new, place = await self._responses.opened(tenant, key_id, requested, self._runner)
        try:
            messages = await messages_for(new.request, place, new.input)
            await self._store.begin(new)
        except (HistoryUnavailable, asyncio.CancelledError):
            self._take_back(new)
            raise
        response = begun(new, place.is_hidden)
        return Run(response, translator_of(response), held), requested, messages

    def follow(self, tenant: str, response_id: str, after: int) -> AsyncGenerator[bytes]:
        """Yield the events past that number, at once where the response runs here; see `following.follow`."""
        run = self._runs.get(response_id)
        is_here = run is not None and run.response.tenant == tenant
        return follow(self._store, tenant, response_id, after, run.live if run and is_here else None)

    async def cancel(self, tenant: str, response_id: str) -> StoredResponse:
        """Cancel a response unless it has ended, and return it; it stops at once here, elsewhere at the next flush."""
        found = await self._store.cancel(tenant, response_id)
        if found.status == "cancelled" and (run := self._runs.get(response_id)):
            run.stop()
        return found

    def _take_back(self, new: NewResponse) -> None:
        """Cancel, once the store is back, what may have begun there although its client does not know of it."""

        async def cancel() -> None:
            with suppress(NotFound):  # it has not begun
                await self._store.cancel(new.tenant, new.id)

        with suppress(HistoryUnavailable):  # with no room left, another replica will run it
            self._writer.defer(new.tenant, new.conversation_id, cancel, (new.id,), 0)

    @property
    def room(self) -> int:
        """How many more may run here."""
        return self._settings.max_background - len(self._tasks) - self._starting

    def launch(self, run: Run, requested: ResponseCall, messages: Messages) -> None:
        """Run a response that is in the store, under this replica's name."""
        if run.place is None and self._places is not None:
            run.place = self._places.retake(run.response.key_id, run.response.id)
        if not run.summary.job.key_id:
            run.summary.job = Job(run.response.key_id, is_patient=True)
        self._runs[run.response.id] = run
        run.begin()
        task = detached(carried(self._run(run, requested, messages)), f"background-{run.response.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._flusher is None or self._flusher.done():
            self._flusher = detached(self._flush(), "response-flusher")

    async def _run(self, run: Run, requested: ResponseCall, messages: Messages) -> None:
        is_own = False
        self._observer.began()
        try:
            await run.until_done(asyncio.create_task(self._generate(run, requested, messages)))
            del self._runs[run.response.id]
            is_own = await self._end(run)
        finally:
            self._runs.pop(run.response.id, None)
            if not run.live.is_over:
                run.live.leave()
            self._count_out(run, is_own)

    def count(self, run: Run, is_own: bool) -> None:
        """Count a run that was given up before it began here."""
        self._observer.began()
        self._count_out(run, is_own)

    def _count_out(self, run: Run, is_own: bool) -> None:
        """Settle what a run has used; that of one which another replica goes on with is settled there."""
        if run.place is not None:
            run.place.end(0)
        if not is_own:
            run.status, run.summary.prompt_tokens, run.summary.completion_tokens = 499, 0, 0
            run.summary.generation = None
        if is_own:
            when_final(run.summary, run.settle)
        elif run.held is not None:
            run.held.leave()
        self._observer.ended(run.response.id, run.response.key_id, run.summary, run.status, True)

    async def _end(self, run: Run) -> bool:
        """Write how the run ended, then show it, so that who sees the end finds all of it; after a second, before.

        False: it is another replica's by now.
        """
        last, ending = run.close()
        response, is_kept = run.response, False

        async def write() -> None:
            nonlocal is_kept
            is_kept = await self._store.end(response.tenant, response.id, self._runner, ending)

        weight = size_bytes(ending.output) + len(ending.frames or b"")
        lane = (response.tenant, response.conversation_id)
        self._writer.defer(*lane, write, (response.id,), weight, is_promised=True)
        is_written = await self._responses.settle(response)
        if is_kept or not is_written:  # else it was deleted, or is another replica's by now
            run.live.add(last)
            run.live.end()
            return True
        return await self._ended_here(response, ending)

    async def _ended_here(self, response: StoredResponse, ending: Ending) -> bool:
        """Tell whether a response whose ending was not taken is no other replica's: deleted, cancelled, ended twice."""
        try:
            found = await self._store.response(response.tenant, response.id)
        except (NotFound, HistoryUnavailable):
            return True
        return found.status == "cancelled" or found.completed_at == ending.completed_at

    async def _flush(self) -> None:
        """Give signs of life of all runs and write their events, while there are any; what the store misses waits."""
        while self._runs:
            await asyncio.sleep(FLUSH_S)
            runs = dict(self._runs)
            batches = {id_: run.live.batch() for id_, run in runs.items()}
            try:
                going_on = await self._store.add_events(self._runner, batches)
            except HistoryUnavailable:
                continue
            except Exception as error:  # noqa: BLE001 - the flusher's boundary: the runs go on without it
                log.error("events were not written: %s", trace(error))
                continue
            for id_, run in runs.items():
                if id_ not in going_on:
                    run.stop()
                elif batches[id_]:
                    run.live.written()

    async def _generate(self, run: Run, requested: ResponseCall, messages: Messages) -> None:
        summary = run.summary
        turn = Unkept(messages, requested.trims)
        try:
            answer: Answer = await self._chat.answer(chat_call(run.response, requested, True), turn, summary)
            assert answer.frames is not None
            await run.consume(answer.frames)
        except ChatLLMError as error:
            run.error, run.status = error, error.status
        except asyncio.CancelledError:
            run.status = 499
            raise
        except Exception as error:  # noqa: BLE001 - the boundary of a run: whatever fails is the response's failure
            log.error("a background response failed: %s", trace(error))
            run.error, run.status = ChatLLMError(), 500
        finally:
            summary.failure = run.error
            if not summary.prompt_tokens and (summary.completion_tokens or run.is_cancelled):
                # Cut short before the model said how long the prompt was.
                summary.prompt_tokens = prompt_tokens(len(orjson.dumps(turn.messages)))

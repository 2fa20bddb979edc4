"""The responses of a replica that was lost: another one runs them again, or ends them with what was said."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Protocol

import orjson

from deployments.config import ResponseSettings
from deployments.errors import ChatLLMError, HistoryUnavailable, Unavailable
from deployments.infra.traces import trace
from deployments.limits.estimate import prompt_tokens
from deployments.responses.following import written
from deployments.responses.request import ADMISSION, ResponseCall, chat_fields
from deployments.responses.run import Held, Run
from deployments.responses.service import Responses, translator_of
from deployments.responses.store import LOST, ResponseStore
from deployments.responses.turn import Place, messages_for
from deployments.responses.types import Claim, StoredResponse

log = logging.getLogger(__name__)

Messages = list[dict[str, Any]]

MAX_ATTEMPTS = 3
UNWRITTEN_EVENTS = 1_000_000
"""Numbers left free for events that a lost replica has shown and not written: what follows must come after them."""


class Runs(Protocol):
    """What runs on this replica."""

    @property
    def room(self) -> int:
        """How many more may run."""
        ...

    def launch(self, run: Run, requested: ResponseCall, messages: Messages) -> None:
        """Run a response that is in the store, under this replica's name; returns at once."""
        ...

    def count(self, run: Run, is_own: bool) -> None:
        """Count a run that was given up before it began here; unless `is_own`, its end is another replica's."""
        ...


class Takeover:
    """Looks for responses whose replica gives no signs of life."""

    def __init__(
        self,
        runs: Runs,
        runner: str,
        responses: Responses,
        store: ResponseStore,
        settings: ResponseSettings,
        waiting_s: Callable[[], float],
        resume: Callable[[Mapping[str, Any]], Held] | None,
    ) -> None:
        """`runner` is this replica's name in the store; for `waiting_s` and `resume` see `BackgroundResponses`."""
        self._runs = runs
        self._runner = runner
        self._responses = responses
        self._store = store
        self._settings = settings
        self._waiting_s = waiting_s
        self._resume = resume

    async def sweep_forever(self) -> None:
        """Take over what other replicas have lost, and drop old events, for ever.

        After an outage of the store nobody has given signs of life for a while: then everyone gets the time to.
        """
        pause_s = self._settings.stale_after_s / 2
        while True:
            await asyncio.sleep(pause_s)
            pause_s = self._settings.stale_after_s / 2
            try:
                await self._store.sweep(self._settings.events_ttl_s, self._waiting_s())
                room = max(0, self._runs.room)
                for claim in await self._store.claim(self._runner, self._settings.stale_after_s, room):
                    await self._try_take_over(claim)
            except HistoryUnavailable:
                pause_s = self._settings.stale_after_s
            except Exception as error:  # noqa: BLE001 - the sweeper's border
                log.error("a sweep failed: %s", trace(error))

    async def _try_take_over(self, claim: Claim) -> None:
        try:
            await self._take_over(claim)
        except HistoryUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - those claimed with it have each their own few attempts
            log.error("the response %s was not taken over: %s", claim.response.id, trace(error))

    async def _take_over(self, claim: Claim) -> None:
        """Run a response again if no client has seen anything of it, else end it as failed, with what was said."""
        response = claim.response
        log.warning("a response is taken over", extra={"response": response.id, "attempts": claim.attempts})
        if response.status == "cancelled" or claim.was_shown or claim.attempts > MAX_ATTEMPTS:
            await self._give_up(claim)
            return
        messages = await self._messages(response)
        requested = ResponseCall(response.request, (), chat_fields(response.request))
        self._runs.launch(Run(response, translator_of(response), self._resumed(response)), requested, messages)

    async def _give_up(self, claim: Claim) -> None:
        """End a lost response with what is known of it, which is also what its key pays for."""
        response, translator = claim.response, translator_of(claim.response)
        async for batch in written(self._store, response):
            translator.recover(batch.frames)
        translator.number = claim.last_number + 1 + UNWRITTEN_EVENTS
        run = Run(response, translator)
        run.is_cancelled = response.status == "cancelled"
        run.error = None if run.is_cancelled else Unavailable(LOST["message"])
        run.status = 499 if run.is_cancelled else Unavailable.status
        run.summary.failure, run.summary.model = run.error, str(response.request["model"])
        run.summary.completion_tokens = translator.pieces
        if run.summary.completion_tokens:
            with suppress(ChatLLMError, KeyError):  # its model may be gone
                run.summary.prompt_tokens = prompt_tokens(len(orjson.dumps(await self._messages(response))))
        _, ending = run.close()
        is_own = await self._store.end(response.tenant, response.id, self._runner, ending)
        run.held = self._resumed(response)
        if run.is_cancelled and not translator.pieces:  # nobody has been told that it began, perhaps
            if run.held is not None:
                run.held.end(0)
            return
        self._runs.count(run, is_own)

    async def _messages(self, response: StoredResponse) -> Messages:
        """Return what the model is to read for a response of another replica."""
        context = await self._responses.context_of(response)
        place = Place(response.conversation_id, False, response.is_hidden, context)
        return await messages_for(response.request, place, ())

    def _resumed(self, response: StoredResponse) -> Held | None:
        """Go on holding what its lost replica held of its key's limits."""
        record = response.request.get(ADMISSION)
        return self._resume(record) if record and self._resume is not None else None

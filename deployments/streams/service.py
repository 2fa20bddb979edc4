"""Resumable streams of one ingress replica.

    a request ──▶ open: its answer is generated here, whoever reads it, and kept in a log meanwhile
    a client that comes back ──▶ follow ──┬─ is generated here: read it
                                          ├─ is generated elsewhere: relay it from there
                                          ├─ has ended: read the log
                                          └─ its replica is lost: go on with it here, from the log

With Redis away a stream goes on, but nobody on another replica can find it.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, closing
from typing import Protocol

from deployments.chat.call import Answer
from deployments.chat.generation import Generation
from deployments.chat.peers import PeerLost, Peers
from deployments.config import StreamSettings
from deployments.errors import ChatLLMError, NotFound, Unavailable
from deployments.infra.breaker import Breaker, BreakerOpen
from deployments.infra.redis.errors import StoreError
from deployments.streams.positions import Position, Unseen, last_position
from deployments.streams.reading import of_another, of_log, of_this_replica, peer_name
from deployments.streams.request import KeptRequest
from deployments.streams.running import Begin, Outcome, RunningStream
from deployments.streams.store import NewLog, StreamName, StreamRecord, StreamStore
from deployments.streams.writing import LogWriter

logger = logging.getLogger(__name__)

MAX_OWNERS = 5
"""How many owners a client is handed to before it is told to come again."""


class GoesOn(Protocol):
    """What generates the answer to a request again whose replica was lost."""

    def __call__(self, kept: KeptRequest) -> tuple[Begin, Outcome]:
        """Return how the answer begins, and who is told of its end."""
        ...


class Refused(Exception):
    """The stream cannot be resumed; `reason` says why, in a word."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class ResumableStreams:
    """The streams of this replica that clients may come back to, and the way to those of the others."""

    def __init__(
        self, store: StreamStore, peers: Peers | None, settings: Callable[[], StreamSettings], goes_on: GoesOn
    ) -> None:
        self._store = store
        self._peers = peers
        self._settings = settings
        self._goes_on = goes_on
        # Without peers there is nobody else: the name is only to tell this replica from one before it.
        self._address = peers.address if peers else secrets.token_bytes(16)
        self._running: dict[StreamName, RunningStream] = {}
        self._offered: dict[bytes, RunningStream] = {}
        self._breaker = Breaker()
        self._runs_until = 0.0
        self._writer = LogWriter(store, self._address, settings, self._running, self._forget)
        if peers:
            peers.serve(self._generation)

    def _generation(self, stream: bytes) -> Generation | None:
        found = self._offered.get(stream)
        return found.generation if found else None

    async def open(self, kept: KeptRequest, answer: Answer, outcome: Outcome) -> tuple[str, AsyncGenerator[bytes]]:
        """Generate an answer for whoever comes back to it; return the stream's id and its numbered events.

        Raises Refused where it cannot be resumed: `answer` and `outcome` are then as if nothing had happened.
        """
        stream_id = f"stream_{secrets.token_hex(20)}"
        name, settings = StreamName.of(kept.call.tenant, stream_id), self._settings()
        request = kept.encoded(settings.max_log_bytes)
        opened = NewLog(name, kept.key_id, self._address, request, settings.ttl_s, settings.max_logs_per_key)
        try:
            with self._breaker.attempt():
                has_room = await self._store.open(opened)
        except (BreakerOpen, StoreError):
            raise Refused("unavailable") from None
        if not has_room:
            raise Refused("limit")

        async def begin() -> Answer:
            return answer

        running = self._launch(name, kept.key_id, begin, outcome, request)
        return stream_id, self._first_reader(kept.call.tenant, stream_id, running)

    async def _first_reader(self, tenant: str, stream_id: str, running: RunningStream) -> AsyncGenerator[bytes]:
        """Yield the events of a stream of this replica, and where it is left to another one, go on there.

        One generator, since each more of them takes a microsecond of every token.
        """
        last = b""
        with closing(running.generation.subscribe()) as subscription:
            try:
                while (frames := await subscription.next()) is not None:
                    last = frames
                    yield frames
                return
            except ChatLLMError:
                if not running.is_left:
                    raise
        after = last_position(last) if last else Position()
        async with aclosing(self.follow(tenant, stream_id, after)) as rest:
            async for frames in rest:
                yield frames

    async def found(self, tenant: str, stream_id: str, after: Position) -> AsyncGenerator[bytes]:
        """Do what `follow` does, and raise NotFound or Unavailable before anything is read."""
        name = StreamName.of(tenant, stream_id)
        if name not in self._running:
            await self._record(name)
        return self.follow(tenant, stream_id, after)

    async def follow(self, tenant: str, stream_id: str, after: Position) -> AsyncGenerator[bytes]:
        """Yield what a client has not seen of a stream, the missed part at once, until it ends.

        Raises NotFound, Unavailable while the log cannot be reached or where nobody can go on with the stream,
        and the ChatLLMError with which it failed.
        """
        name, unseen = StreamName.of(tenant, stream_id), Unseen(after)
        for _ in range(MAX_OWNERS):
            source = await self._source(name)
            if source is None:
                continue
            try:
                async with aclosing(source):
                    async for frames in source:
                        if rest := unseen.rest(frames):
                            after = last_position(rest)
                            yield rest
                return
            except PeerLost:
                unseen.restart(after)
                await self._replace_owner(name)
        raise Unavailable("The stream was handed from replica to replica; please try again.", None, 1.0)

    async def cancel(self, tenant: str, stream_id: str) -> None:
        """Stop a stream and forget it: at once here, elsewhere within a second.

        Raises NotFound, and Unavailable where its log could not be dropped; here it has been stopped all the same.
        """
        name = StreamName.of(tenant, stream_id)
        if running := self._running.get(name):
            running.generation.stop()
        try:
            was_there = await self._store.cancel(name)
        except StoreError:
            raise _unreachable() from None
        if self._forget(name) is None and running is None and not was_there:
            raise _unknown()

    def retire(self, timeout_s: float) -> None:
        """Take note that this replica stops; what runs may go on for `timeout_s` from now."""
        self._runs_until = time.monotonic() + timeout_s

    async def aclose(self, timeout_s: float) -> None:
        """Let the streams end for `timeout_s`, or as long as `retire` said; what then still runs is left to others."""
        if self._running:
            tasks = [asyncio.create_task(one.generation.ended()) for one in self._running.values()]
            await asyncio.wait(tasks, timeout=max(timeout_s, self._runs_until - time.monotonic()))
            for task in tasks:
                task.cancel()
        await self.leave()
        try:
            await self._store.aclose()
        except StoreError as error:
            logger.warning("the streams' store did not close: %s", error.kind)

    async def leave(self) -> None:
        """Leave what runs to whoever its clients come back to, with all that was said in its log."""
        await self._writer.aclose()
        for running in list(self._running.values()):
            running.leave()
            await running.generation.ended()

    def _launch(
        self,
        name: StreamName,
        key_id: str,
        begin: Begin,
        outcome: Outcome,
        request: bytes,
        sent: Sequence[bytes] | None = None,
        losses: int = 0,
    ) -> RunningStream:
        running = RunningStream(name, key_id, begin, outcome, self._settings().grace_s, request, sent, losses)
        self._running[name] = running
        if self._peers:
            self._offered[self._peers.stream(peer_name(name))] = running
        self._writer.begin(running)
        return running

    def _forget(self, name: StreamName) -> RunningStream | None:
        if self._peers:
            self._offered.pop(self._peers.stream(peer_name(name)), None)
        return self._running.pop(name, None)

    async def _source(self, name: StreamName) -> AsyncGenerator[bytes] | None:
        """Return where a stream is to be read now, from its first event on; None to look again."""
        if running := self._running.get(name):
            return of_this_replica(running)
        record = await self._record(name)
        if record.state == "ended":
            return of_log(record)
        if self._peers and record.owner != self._address:
            return of_another(self._peers, record.owner, name)
        await self._take(name, record)
        return None

    async def _record(self, name: StreamName) -> StreamRecord:
        try:
            record = await self._store.read(name)
        except StoreError:
            raise _unreachable() from None
        if record is None or record.state == "cancelled":
            raise _unknown()
        return record

    async def _replace_owner(self, name: StreamName) -> None:
        """Go on here with a stream whose owner did not answer, unless it has ended or is another's by now."""
        if name not in self._running:
            record = await self._record(name)
            if record.state == "running":
                await self._take(name, record)

    async def _take(self, name: StreamName, record: StreamRecord) -> None:
        if not record.request:
            raise Unavailable("The replica that generated the stream was lost, and this answer cannot be continued.")
        try:
            owner = await self._store.take(name, record.owner, self._address)
        except StoreError:
            raise _unreachable() from None
        if owner != self._address or name in self._running:
            return
        logger.warning("a stream is taken over", extra={"events": len(record.frames)})
        kept = KeptRequest.decoded(record.request)
        begin, outcome = self._goes_on(kept)
        self._launch(name, kept.key_id, begin, outcome, record.request, record.frames, record.losses + 1)


def _unknown() -> NotFound:
    return NotFound("There is no such stream, or it ended too long ago.")


def _unreachable() -> Unavailable:
    return Unavailable("The streams' log cannot be reached now.", None, 1.0)

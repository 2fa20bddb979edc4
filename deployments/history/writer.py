"""Writes items behind the answer: in order, retried while the store is away, each exactly once."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import orjson

from deployments.errors import BadRequest, ChatLLMError, Conflict, HistoryUnavailable, NotFound, Unavailable
from deployments.history.store import HistoryStore
from deployments.history.types import NewItem

log = logging.getLogger(__name__)

WORKERS = 4
FIRST_DELAY_S = 0.1
MAX_DELAY_S = 5.0
# A parent may be on its way from another replica; an error may be a passing one. Six refusals take 6 s.
MAX_REFUSALS = 6
# The count of writes is bounded by the settings; this bounds what a few huge ones can take.
MAX_PENDING_BYTES = 256 * 1024 * 1024


@dataclass(slots=True)
class _Write:
    apply: Callable[[], Awaitable[object]]
    labels: tuple[str, ...]
    size_bytes: int
    otherwise: Callable[[], Awaitable[object]] | None = None
    refusals: int = 0


@dataclass(slots=True)
class _Lane:
    """The writes of one conversation, oldest first; one worker at a time has it."""

    tenant: str
    conversation_id: str
    writes: deque[_Write] = field(default_factory=deque[_Write])
    settled: asyncio.Event = field(default_factory=asyncio.Event)


class HistoryWriter:
    """Keeps what was submitted in memory until the store has it.

    The writes of one conversation keep their order; those of several do not wait
    for each other. A write whose outcome is unknown is repeated, and the ids of
    its items make that harmless. Items whose parent does not come within seconds
    follow the newest item instead: another place is better than none. What is in
    memory when the process is killed is lost.
    """

    tell: Callable[[int], None] | None = None
    """Called with `pending` whenever it changes."""

    def __init__(self, store: HistoryStore, max_pending: int, max_pending_bytes: int = MAX_PENDING_BYTES) -> None:
        self._store = store
        self._max_pending = max_pending
        self._max_pending_bytes = max_pending_bytes
        self._lanes: dict[tuple[str, str], _Lane] = {}
        self._ready: asyncio.Queue[_Lane] = asyncio.Queue()  # bounded by max_pending: a lane has a write
        self._workers: list[asyncio.Task[None]] = []
        self._drained = asyncio.Event()
        self._drained.set()
        self._is_closed = False
        self._pending_bytes = 0
        self._pending = 0
        self._written = 0
        self._failed = 0

    @property
    def pending(self) -> int:
        """Writes that wait or are under way."""
        return self._pending

    @property
    def written(self) -> int:
        """Writes that the store has confirmed."""
        return self._written

    @property
    def failed(self) -> int:
        """Writes that were given up because the store can never take them."""
        return self._failed

    async def open(self) -> None:
        """Start writing, in the running event loop; what was submitted before is taken up."""
        self._workers = [asyncio.create_task(self._work(), name=f"history-writer-{n}") for n in range(WORKERS)]

    def ensure_room(self) -> None:
        """Raise HistoryUnavailable if too much waits: ask before a request is accepted."""
        if self._is_closed:
            raise HistoryUnavailable("This replica is shutting down.", retry_after_s=1.0)
        if self._pending >= self._max_pending or self._pending_bytes >= self._max_pending_bytes:
            raise HistoryUnavailable(
                "Too many messages wait for the conversation store to come back.", retry_after_s=MAX_DELAY_S
            )

    def submit(self, tenant: str, conversation_id: str, items: Sequence[NewItem], *, is_promised: bool = False) -> None:
        """Take items to be written and return at once.

        Raises HistoryUnavailable if too much waits, and BadRequest for what is
        not JSON. `is_promised` accepts them beyond the bound, and while draining:
        the answer to a question that was accepted. There are never more of those
        than requests that the replica answers at once.
        """
        append = partial(self._store.append, tenant, conversation_id, tuple(items))
        detached = partial(self._store.append, tenant, conversation_id, tuple(item.after(None) for item in items))
        labels = tuple(item.id for item in items)
        self.defer(tenant, conversation_id, append, labels, size_bytes(items), detached, is_promised=is_promised)

    def defer(
        self,
        tenant: str,
        conversation_id: str,
        write: Callable[[], Awaitable[object]],
        labels: tuple[str, ...],
        size_bytes: int,
        otherwise: Callable[[], Awaitable[object]] | None = None,
        *,
        is_promised: bool = False,
    ) -> None:
        """Take a write of any kind, in the order of its conversation's other writes; else as `submit`.

        `write` is called again after a failure, so that repeating it must change
        nothing. `otherwise` takes its place where what it builds upon does not come.
        `labels` name in the log what is lost if it is given up.
        """
        if not is_promised:
            self.ensure_room()
        lane = self._lanes.get((tenant, conversation_id))
        entry = _Write(write, labels, size_bytes, otherwise)
        self._count(1, size_bytes)
        self._drained.clear()
        if lane is not None:
            lane.writes.append(entry)
            return
        lane = self._lanes[tenant, conversation_id] = _Lane(tenant, conversation_id, deque([entry]))
        self._ready.put_nowait(lane)

    async def settled(self, tenant: str, conversation_id: str, timeout_s: float) -> bool:
        """Wait until nothing of a conversation waits here, at most `timeout_s`; tell whether that is so."""
        lane = self._lanes.get((tenant, conversation_id))
        if lane is None:
            return True
        try:
            await asyncio.wait_for(lane.settled.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    async def drain(self, timeout_s: float) -> int:
        """Take nothing more, wait until all is written, and return how many writes were left after `timeout_s`."""
        self._is_closed = True
        try:
            await asyncio.wait_for(self._drained.wait(), timeout_s)
        except TimeoutError:
            log.error("messages are lost: the store did not come back in time", extra={"writes": self._pending})
        finally:
            for worker in self._workers:
                worker.cancel()
            await asyncio.gather(*self._workers, return_exceptions=True)
            self._workers.clear()
        return self._pending

    async def _work(self) -> None:
        delay_s = FIRST_DELAY_S
        while True:
            lane = await self._ready.get()
            try:
                await lane.writes[0].apply()
            except Unavailable:
                # Lanes change places: one that the store cannot take in time must not hold up the others.
                self._ready.put_nowait(lane)
                await asyncio.sleep(delay_s)
                delay_s = min(MAX_DELAY_S, delay_s * 2)
            except Exception as error:  # noqa: BLE001 - the worker's boundary: one bad write must not end it
                self._refused(lane, error)
            else:
                delay_s = FIRST_DELAY_S
                self._written += 1
                self._next(lane)

    def _refused(self, lane: _Lane, error: Exception) -> None:
        """Give the first write of a lane another try later, or give it up."""
        write = lane.writes[0]
        write.refusals += 1
        if write.refusals < MAX_REFUSALS and not isinstance(error, NotFound | BadRequest):
            delay_s = FIRST_DELAY_S * 2**write.refusals
            asyncio.get_running_loop().call_later(delay_s, self._ready.put_nowait, lane)
            return
        if isinstance(error, Conflict) and write.otherwise:
            log.warning("the parent of a message did not arrive", extra={"items": write.labels})
            write.apply, write.otherwise, write.refusals = write.otherwise, None, 0
            self._ready.put_nowait(lane)
            return
        log.error(
            "a message could not be stored",
            extra={
                "conversation": lane.conversation_id,
                "items": write.labels,
                "reason": error.code if isinstance(error, ChatLLMError) else type(error).__name__,
            },
        )
        self._failed += 1
        self._next(lane)

    def _next(self, lane: _Lane) -> None:
        """Take the first write off a lane and put the lane back in the queue if it has more."""
        self._count(-1, -lane.writes.popleft().size_bytes)
        if lane.writes:
            self._ready.put_nowait(lane)
        else:
            del self._lanes[lane.tenant, lane.conversation_id]
            lane.settled.set()
        if not self._pending:
            self._drained.set()

    def _count(self, writes: int, size_bytes: int) -> None:
        self._pending += writes
        self._pending_bytes += size_bytes
        if self.tell is not None:
            self.tell(self._pending)


def size_bytes(items: Sequence[NewItem]) -> int:
    """Return the approximate size of items in memory; raises BadRequest for what is not JSON."""
    try:
        return sum(len(orjson.dumps(item.payload)) for item in items)
    except TypeError as error:
        raise BadRequest("this cannot be stored: it is not valid JSON, or nested too deeply") from error

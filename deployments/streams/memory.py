"""The logs of tests and single processes."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from deployments.streams.store import Appended, Batch, NewLog, State, StreamName, StreamRecord


@dataclass(slots=True)
class _Log:
    key_id: str
    owner: bytes
    request: bytes
    until: float
    state: State = "running"
    end: int = 0
    is_whole: bool = True
    losses: int = 0
    frames: list[bytes] = field(default_factory=list[bytes])


class MemoryStreams:
    """Keeps logs as Redis does."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._logs: dict[StreamName, _Log] = {}

    async def open(self, log: NewLog) -> bool:
        if found := self._found(log.name):
            found.owner = log.owner
            return True
        of_key = [name for name in list(self._logs) if (one := self._found(name)) and one.key_id == log.key_id]
        if len([name for name in of_key if name.tenant == log.name.tenant]) >= log.max_of_key:
            return False
        self._logs[log.name] = _Log(log.key_id, log.owner, log.request, self._clock() + log.ttl_s)
        return True

    async def append(self, batches: Sequence[Batch]) -> list[Appended]:
        return [self._append(batch) for batch in batches]

    def _append(self, batch: Batch) -> Appended:
        log = self._found(batch.name)
        if log is None:
            return "missing"
        if log.state == "cancelled":
            return "cancelled"
        if log.owner != batch.owner:
            return "taken"
        if batch.frames and batch.end > log.end:
            log.frames.append(batch.frames)
            log.end = batch.end
        if batch.is_last:
            log.state, log.request = "ended", b""
            log.is_whole = batch.end == log.end
        log.until = self._clock() + batch.ttl_s
        return "running"

    async def read(self, name: StreamName) -> StreamRecord | None:
        log = self._found(name)
        if log is None or not log.is_whole:
            return None
        return StreamRecord(log.owner, log.state, log.request, list(log.frames), log.losses)

    async def take(self, name: StreamName, lost: bytes, owner: bytes) -> bytes:
        log = self._found(name)
        if log is None or log.state != "running":
            return b""
        if log.owner == lost:
            log.owner = owner
            log.losses += 1
        return log.owner

    async def cancel(self, name: StreamName) -> bool:
        log = self._found(name)
        if log is None or log.state == "cancelled":
            return False
        log.state, log.request, log.frames = "cancelled", b"", []
        return True

    async def aclose(self) -> None: ...

    def _found(self, name: StreamName) -> _Log | None:
        log = self._logs.get(name)
        if log is not None and log.until <= self._clock():
            del self._logs[name]
            return None
        return log

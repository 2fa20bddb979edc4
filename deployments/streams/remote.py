"""The logs in Redis or Valkey: a hash, and a Redis Stream whose entries hold the events of a moment each."""

import asyncio
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Any, cast

import zstandard

from deployments.infra.redis.client import connect
from deployments.infra.redis.errors import translated
from deployments.infra.redis.scripts import Argument, Script, Scripts
from deployments.streams.store import Appended, Batch, NewLog, State, StreamName, StreamRecord

OPEN, APPEND, TAKE, CANCEL = (
    Script(Path(__file__).parent / f"{name}.lua") for name in ("open", "append", "take", "cancel")
)
MAX_ENTRY_BYTES = 64 * 1024 * 1024
BACKGROUND_TIMEOUT_S = 1.0


class RedisStreams:
    """The streams' logs of all replicas. Opening one takes `timeout_s` at most, everything else a second."""

    def __init__(self, url: str, namespace: str, timeout_s: float) -> None:
        self._prefix = f"{namespace}:streams:"
        self._client = connect(url, max(BACKGROUND_TIMEOUT_S, timeout_s))
        # Apart, so that no request waits behind what has time.
        self._opening = Scripts(self._client, timeout_s)
        self._background = Scripts(self._client, BACKGROUND_TIMEOUT_S)
        self._compressor = zstandard.ZstdCompressor(level=1)
        self._decompressor = zstandard.ZstdDecompressor()

    async def open(self, log: NewLog) -> bool:
        arguments: tuple[Argument, ...] = (
            log.owner,
            log.request,
            _milliseconds(log.ttl_s),
            log.max_of_key,
            log.name.stream,
        )
        keys = (self._stream(log.name), self._of_key(log.name, log.key_id), self._log(log.name))
        return bool(await self._opening.run(OPEN, keys, arguments))

    async def append(self, batches: Sequence[Batch]) -> list[Appended]:
        calls = [self._call(batch) for batch in batches]
        states = await self._background.run_all(APPEND, calls)
        return [cast(Appended, state.decode()) for state in states]

    def _call(self, batch: Batch) -> tuple[Sequence[str], Sequence[Argument]]:
        name = batch.name
        keys = (self._stream(name), self._log(name), self._of_key(name, batch.key_id))
        frames = self._compressor.compress(batch.frames) if batch.frames else b""
        return keys, (
            batch.owner,
            frames,
            batch.end,
            _milliseconds(batch.ttl_s),
            int(batch.is_last),
            name.stream,
        )

    async def read(self, name: StreamName) -> StreamRecord | None:
        with translated():
            async with asyncio.timeout(BACKGROUND_TIMEOUT_S):
                pipeline: Any = self._client.pipeline(transaction=False)
                pipeline.hmget(self._stream(name), ["owner", "state", "request", "entries", "end", "losses"])
                pipeline.xrange(self._log(name))
                (owner, state, request, count, end, losses), entries = await cast("Awaitable[Any]", pipeline.execute())
        if state is None or state == b"cancelled":
            return None
        # Each of the two keys may be evicted alone; an entry may have come since the first was read.
        is_whole = len(entries) >= int(count or 0)
        if state == b"ended" and not (is_whole and _end_of(entries) == int(end or 0)):
            return None
        request = request if is_whole else b""
        frames = [self._decompressor.decompress(fields[b"f"], MAX_ENTRY_BYTES) for _, fields in entries]
        return StreamRecord(owner, cast(State, state.decode()), request or b"", frames, int(losses or 0))

    async def take(self, name: StreamName, lost: bytes, owner: bytes) -> bytes:
        return await self._background.run(TAKE, (self._stream(name),), (lost, owner))

    async def cancel(self, name: StreamName) -> bool:
        return bool(await self._background.run(CANCEL, (self._stream(name), self._log(name)), ()))

    async def aclose(self) -> None:
        await self._opening.aclose()
        await self._background.aclose()
        with translated():
            await self._client.aclose()

    # In braces, so that a cluster keeps all of a tenant's in one place.
    def _stream(self, name: StreamName) -> str:
        return f"{self._prefix}{{{name.tenant}}}:{name.stream}"

    def _log(self, name: StreamName) -> str:
        return f"{self._prefix}{{{name.tenant}}}:{name.stream}:log"

    def _of_key(self, name: StreamName, key_id: str) -> str:
        return f"{self._prefix}{{{name.tenant}}}:of:{key_id}"


def _end_of(entries: Sequence[tuple[bytes, Any]]) -> int:
    """Return the number after the last event of a log."""
    return int(entries[-1][0].partition(b"-")[0]) if entries else 0


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))

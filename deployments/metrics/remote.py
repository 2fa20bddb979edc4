"""Figures in Redis or Valkey: a hash for each replica, and one of those that there are."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec

from deployments.infra.redis.client import connect
from deployments.infra.redis.errors import translated
from deployments.metrics.buckets import BUCKET_S, BUCKETS
from deployments.metrics.store import MAX_REPLICAS, TTL_S, Readings, Receipt, ReplicaFigures, State

TIMEOUT_S = 1.0
PUBLISH = (Path(__file__).parent / "publish.lua").read_text(encoding="utf-8")
THERE_ARE = "local time = redis.call('TIME') return {time[1], time[2], redis.call('HGETALL', KEYS[1])}"
"""By the clock of the server that has the figures: a cluster has several, and its client tells the time of none."""
TTL_MS = round(TTL_S * 1000)

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(State).decode


class RedisFigures:
    """The store of all replicas; no call takes longer than a second, then it is a `StoreError`."""

    def __init__(self, url: str, namespace: str) -> None:
        # In braces, so that a cluster keeps all in one place.
        self._prefix = f"{namespace}:{{metrics}}:1:"
        self._index = f"{self._prefix}replicas"
        self._client = connect(url, TIMEOUT_S)
        self._publish = self._client.register_script(PUBLISH)
        self._read_index = self._client.register_script(THERE_ARE)

    async def publish(self, replica: str, state: State, places: Mapping[str, bytes], *, is_first: bool) -> Receipt:
        flat = [part for pair in places.items() for part in pair]
        with translated():
            async with asyncio.timeout(TIMEOUT_S):
                now_ms, was_known = await self._publish(
                    keys=[self._index, self._prefix + replica],
                    args=[replica, _pack(state), TTL_MS, int(is_first), *flat],
                )
        return Receipt(now_ms / 1000, bool(was_known))

    async def read(self, since: float) -> Readings:
        with translated():
            async with asyncio.timeout(TIMEOUT_S):
                now, index = await self._there_are()
                known = [left for name, value in index.items() if (left := _left(name, value))]
                alive = sorted((left for left in known if left.seen_at > now - TTL_S), key=lambda left: -left.seen_at)
                found = await self._places(alive[:MAX_REPLICAS], since)
        return Readings(now, found, len(known) == len(index) and len(alive) <= MAX_REPLICAS)

    async def aclose(self) -> None:
        with translated():
            await self._client.aclose()

    async def _there_are(self) -> tuple[float, Mapping[bytes, bytes]]:
        seconds, micros, flat = cast("tuple[bytes, bytes, list[bytes]]", await self._read_index(keys=[self._index]))
        return int(seconds) + int(micros) / 1e6, dict(zip(flat[::2], flat[1::2], strict=True))

    async def _places(self, replicas: Sequence[ReplicaFigures], since: float) -> list[ReplicaFigures]:
        if not replicas:
            return []
        pipeline = self._client.pipeline(transaction=False)
        for replica in replicas:
            pipeline.hmget(self._prefix + replica.id, ["faults", *_slots(replica, since)])
        found = cast("list[list[bytes | None]]", await pipeline.execute())
        return [
            ReplicaFigures(left.id, left.seen_at, left.state, [*filter(None, packed)], faults or b"")
            for left, (faults, *packed) in zip(replicas, found, strict=True)
        ]


def _left(name: bytes, value: bytes) -> ReplicaFigures | None:
    """Return what the index says of a replica; None for what nobody of this version wrote."""
    seen_ms, _, state = value.partition(b" ")
    try:
        return ReplicaFigures(name.decode(), int(seen_ms) / 1000, _unpack(state), [])
    except (ValueError, msgspec.DecodeError):
        return None


def _slots(replica: ReplicaFigures, since: float) -> list[Any]:
    """Return the places in which the buckets from a time on lie."""
    first = int(max(0.0, since - replica.offset_s) / BUCKET_S)
    last = int(replica.state.clock / BUCKET_S)
    return [str(number % BUCKETS) for number in range(max(first, last - BUCKETS + 1), last + 1)]

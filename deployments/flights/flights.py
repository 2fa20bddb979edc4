"""The flights of one ingress replica."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Protocol

from deployments.cache.claims import CLAIM_TTL_S, Claim
from deployments.detached import detached
from deployments.flights.continuation import Continuation
from deployments.flights.flight import Flight
from deployments.flights.neighbours import FlightLost, Neighbours
from deployments.models.protocol import Frames, Message

logger = logging.getLogger(__name__)

RENEWAL_S = CLAIM_TTL_S / 4
LINGER_S = 1.0
"""How long other replicas find a flight after its end: the entry in the cache is written behind it."""
MAX_LINGERING_BYTES = 32 * 1024 * 1024
MAX_TAKEOVERS = 3

Generate = Callable[[], AsyncGenerator[Message]]


class Registry(Protocol):
    """Who generates what, over all replicas."""

    async def hold(self, claims: Sequence[Claim]) -> list[bytes]:
        """Return who holds each name now; an empty list if that can not be told in time. Never raises."""
        ...


class Flights:
    """What is being generated now, by name; without neighbours, of this replica alone."""

    def __init__(self, registry: Registry, neighbours: Neighbours | None = None) -> None:
        self._registry = registry
        self._neighbours = neighbours
        self._flying: dict[str, Flight] = {}
        self._led: set[str] = set()
        self._streams: dict[bytes, Flight] = {}
        self._lingering_bytes = 0
        self._running: set[Flight] = set()
        self._renewing: asyncio.Task[None] | None = None
        if neighbours:
            neighbours.serve(self._streams.get)

    def flies(self, name: str) -> bool:
        """Whether this replica has the flight, so that it can be boarded without asking anyone."""
        return name in self._flying

    def claim(self, name: str) -> Claim | None:
        """Return the claim with which a look-up may make this replica the one that generates."""
        return Claim(name, self._neighbours.address) if self._neighbours else None

    def board(self, name: str, holder: bytes, generate: Generate) -> tuple[AsyncGenerator[Message], bool]:
        """Return the flight's messages from its first on, and whether they are of a generation that has begun already.

        `holder` generates it if it does not fly here. The messages must be begun
        at once and closed; when nobody reads any more, the generation is stopped.
        """
        flight = self._flying.get(name)
        if flight is not None:
            return flight.read(), True
        is_elsewhere = bool(self._neighbours and holder and holder != self._neighbours.address)
        flight = Flight(self._source(name, holder if is_elsewhere else b"", generate), self._closed(name))
        self._flying[name] = flight
        self._running.add(flight)
        if self._neighbours:
            self._streams[self._neighbours.stream(name)] = flight
        return flight.read(), is_elsewhere

    async def aclose(self) -> None:
        """Stop all generations that are under way; the other replicas take over what they read."""
        if self._neighbours:
            await self._neighbours.aclose()
        if self._renewing:
            self._renewing.cancel()
        for flight in list(self._running):
            flight.stop()
            await flight.ended()

    async def _source(self, name: str, holder: bytes, generate: Generate) -> AsyncGenerator[Message]:
        """Yield the messages from where they are generated, and go on elsewhere when that is lost."""
        sent: list[bytes] = []
        for _ in range(MAX_TAKEOVERS):
            if not holder or not self._neighbours or holder == self._neighbours.address:
                break
            try:
                async with aclosing(_continued(self._neighbours.messages(holder, name), sent)) as messages:
                    async for message in messages:
                        yield message
                return
            except FlightLost:
                logger.info("a generation of another replica was lost after %d messages", len(sent))
                holder = await self._held(Claim(name, self._neighbours.address, holder))
        self._lead(name)
        async with aclosing(_continued(generate(), sent) if sent else generate()) as messages:
            async for message in messages:
                yield message

    async def _held(self, claim: Claim) -> bytes:
        holders = await self._registry.hold([claim])
        return holders[0] if holders else b""

    def _closed(self, name: str) -> Callable[[Flight], None]:
        def closed(flight: Flight) -> None:
            if self._flying.get(name) is flight:
                del self._flying[name]
                self._led.discard(name)
            self._running.discard(flight)
            if self._neighbours:
                self._linger(self._neighbours.stream(name), flight)

        return closed

    def _linger(self, stream: bytes, flight: Flight) -> None:
        size = flight.kept_bytes
        if not flight.is_whole or self._lingering_bytes + size > MAX_LINGERING_BYTES:
            self._forget(stream, flight, 0)
            return
        self._lingering_bytes += size
        asyncio.get_running_loop().call_later(LINGER_S, self._forget, stream, flight, size)

    def _forget(self, stream: bytes, flight: Flight, size: int) -> None:
        self._lingering_bytes -= size
        if self._streams.get(stream) is flight:
            del self._streams[stream]

    def _lead(self, name: str) -> None:
        self._led.add(name)
        if self._neighbours and (self._renewing is None or self._renewing.done()):
            self._renewing = detached(self._renew(), "flight-claims")

    async def _renew(self) -> None:
        while self._neighbours and self._led:
            await asyncio.sleep(RENEWAL_S)
            if self._led:
                await self._registry.hold([Claim(name, self._neighbours.address) for name in self._led])


async def _continued(messages: AsyncGenerator[Message], sent: list[bytes]) -> AsyncGenerator[Message]:
    """Yield what of `messages` has not been sent yet, and note what is."""
    continuation = Continuation(b"".join(sent)) if sent else None
    async with aclosing(messages):
        async for message in messages:
            rest = continuation.rest(message) if continuation else message
            if rest is None:
                continue
            if isinstance(rest, Frames):
                sent.append(rest.data)
            yield rest
            if not isinstance(rest, Frames):
                return

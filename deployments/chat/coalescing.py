"""Identical requests in flight share one generation, over all ingress replicas.

a miss ──▶ Coalescer.join ──┬─ is generated here: subscribe to it
                            ├─ is generated elsewhere: a generation here that relays it
                            └─ is generated nowhere: generate, and renew the lease meanwhile
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol

from deployments.cache.claims import CLAIM_TTL_S, Claim
from deployments.chat.generation import Generation, Source, Subscription
from deployments.chat.peers import PeerLost, Peers
from deployments.infra.detached import detached
from deployments.models.protocol import Put, Reply

logger = logging.getLogger(__name__)

RENEWAL_S = CLAIM_TTL_S / 4
LINGER_S = 1.0
"""How long other replicas find a generation after its end: the entry in the cache is written behind it."""
MAX_LINGERING_BYTES = 32 * 1024 * 1024
MAX_TAKEOVERS = 3

Generate = Callable[[Put], Awaitable[None]]
"""Has a model generate an answer, whose messages it puts; raises a ChatLLMError, and is cancelled."""
OnReply = Callable[[Reply, bytes], None]


class Leases(Protocol):
    """Who generates what, over all replicas."""

    async def acquire(self, claims: Sequence[Claim]) -> list[bytes]:
        """Return who holds each name now; an empty list if that is not known in time. Never raises."""
        ...


class Coalescer:
    """The generations of one ingress replica, by name; without peers, it shares them with nobody else."""

    def __init__(self, leases: Leases, peers: Peers | None = None) -> None:
        self._leases = leases
        self._peers = peers
        self._joinable: dict[str, Generation] = {}
        self._leading: set[str] = set()
        self._streams: dict[bytes, Generation] = {}
        self._lingering_bytes = 0
        self._running: set[Generation] = set()
        self._renewing: asyncio.Task[None] | None = None
        self._runs_until = 0.0
        if peers:
            peers.serve(self._streams.get)

    def is_in_flight(self, name: str) -> bool:
        """Whether this replica has the generation, so that it can be joined without asking anyone."""
        return name in self._joinable

    def claim(self, name: str) -> Claim | None:
        """Return the claim with which a look-up may make this replica the leader."""
        return Claim(name, self._peers.address) if self._peers else None

    def start(self, generate: Generate, on_reply: OnReply | None = None) -> Subscription:
        """Subscribe to a new generation that nobody else can join; `on_reply` gets its answer and all frames."""

        async def source(generation: Generation) -> None:
            generation.on_reply = on_reply
            await generate(generation.put)

        return self._launched(source).subscribe()

    def join(
        self, name: str, leader: bytes, generate: Generate, on_reply: OnReply, reply_id: str
    ) -> tuple[Subscription, bool]:
        """Subscribe to the generation of that name, and return whether it had already begun.

        `leader` generates it if it is not in flight here; where it is generated, `on_reply` gets the answer and
        all frames. Whoever joins gets the answer under `reply_id`.
        """
        if (generation := self._joinable.get(name)) is not None:
            return generation.subscribe(reply_id), True
        elsewhere = leader if self._peers and leader != self._peers.address else b""
        source = partial(self._generate, name, elsewhere, generate, on_reply)
        generation = self._joinable[name] = self._launched(source, partial(self._closed, name))
        if self._peers:
            self._streams[self._peers.stream(name)] = generation
        return generation.subscribe(reply_id if elsewhere else ""), bool(elsewhere)

    def retire(self, timeout_s: float) -> None:
        """Take note that this replica stops; what others relay from here may go on for `timeout_s` from now."""
        self._runs_until = time.monotonic() + timeout_s

    async def aclose(self) -> None:
        """Abort all generations, once `retire` lets it; the other replicas take over what they relay."""
        if self._running and (left_s := self._runs_until - time.monotonic()) > 0:
            ending = [asyncio.create_task(generation.ended()) for generation in self._running]
            _, late = await asyncio.wait(ending, timeout=left_s)
            for task in late:
                task.cancel()
        if self._peers:
            await self._peers.aclose()
        if self._renewing:
            self._renewing.cancel()
        for generation in list(self._running):
            generation.stop()
            await generation.ended()

    def _launched(self, source: Source, on_closed: Callable[[Generation], None] | None = None) -> Generation:
        generation = Generation(source, on_closed)
        self._running.add(generation)
        generation.add_done_callback(self._running.discard)
        return generation

    async def _generate(
        self, name: str, leader: bytes, generate: Generate, on_reply: OnReply, generation: Generation
    ) -> None:
        """Relay the answer from where it is generated; when that is lost, from the next leader, or generate it."""
        for _ in range(MAX_TAKEOVERS):
            if not leader or not self._peers or leader == self._peers.address:
                break
            generation.is_relayed = True
            try:
                await self._peers.relay(leader, name, generation.put)
                return
            except PeerLost:
                logger.info("a generation of another replica was lost after %d bytes", generation.size_bytes)
                generation.restart()
                leader = await self._leader(Claim(name, self._peers.address, leader))
        generation.is_relayed = False
        self._lead(name)
        generation.on_reply = on_reply
        await generate(generation.put)

    async def _leader(self, claim: Claim) -> bytes:
        leaders = await self._leases.acquire([claim])
        return leaders[0] if leaders else b""

    def _closed(self, name: str, generation: Generation) -> None:
        if self._joinable.get(name) is generation:
            del self._joinable[name]
            self._leading.discard(name)
        if self._peers:
            self._linger(self._peers.stream(name), generation)

    def _linger(self, stream: bytes, generation: Generation) -> None:
        size = generation.size_bytes
        if not generation.is_whole or self._lingering_bytes + size > MAX_LINGERING_BYTES:
            self._forget(stream, generation, 0)
            return
        self._lingering_bytes += size
        asyncio.get_running_loop().call_later(LINGER_S, self._forget, stream, generation, size)

    def _forget(self, stream: bytes, generation: Generation, size: int) -> None:
        self._lingering_bytes -= size
        if self._streams.get(stream) is generation:
            del self._streams[stream]

    def _lead(self, name: str) -> None:
        self._leading.add(name)
        if self._peers and (self._renewing is None or self._renewing.done()):
            self._renewing = detached(self._renew(), "generation-leases")

    async def _renew(self) -> None:
        while self._peers and self._leading:
            await asyncio.sleep(RENEWAL_S)
            if self._leading:
                await self._leases.acquire([Claim(name, self._peers.address) for name in self._leading])

"""Generations over several ingress replicas: each with its own listener, on real connections, and shared leases."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import orjson
import pytest

from deployments.cache.claims import Claim, MemoryClaims
from deployments.chat.coalescing import Coalescer
from deployments.chat.generation import Subscription
from deployments.chat.peers import Peers
from deployments.errors import ChatLLMError, Unavailable
from deployments.models.assembly import assemble, payloads, sse
from deployments.models.delivery.listener import Listener
from deployments.models.protocol import Failed, Frames, Progress, Put, Reply

WORDS = [f"word{number} " for number in range(30)]


class Leases:
    """Claims that can be away."""

    def __init__(self) -> None:
        self.claims = MemoryClaims()
        self.is_away = False

    async def acquire(self, claims: Sequence[Claim]) -> list[bytes]:
        return [] if self.is_away else await self.claims.acquire(claims)


@dataclass
class Replica:
    """One ingress replica, and a model that says the words slowly."""

    listener: Listener
    peers: Peers
    coalescer: Coalescer
    leases: Leases
    generations: int = 0
    stopped: int = 0
    words: Sequence[str] = tuple(WORDS)
    failure: Failed | None = None
    stored: list[tuple[Reply, bytes]] = field(default_factory=list[tuple[Reply, bytes]])

    async def generate(self, put: Put) -> None:
        self.generations += 1
        head = {"id": f"chatcmpl-{id(self)}-{self.generations}", "created": 1, "object": "chat.completion.chunk"}
        events: list[bytes] = []
        put(Progress(7, 0))
        try:
            for number, word in enumerate(self.words):
                finish = "stop" if number + 1 == len(self.words) else None
                choice = {"index": 0, "delta": {"content": word}, "finish_reason": finish}
                events.append(sse({**head, "choices": [choice]}))
                put(Frames(events[-1]))
                await asyncio.sleep(0.01)
        finally:
            self.stopped += 1
        put(self.failure or Reply(orjson.dumps(assemble(payloads(b"".join(events)))), 1, len(self.words), "stop"))

    async def join(self, name: str = "key") -> tuple[Subscription, bool]:
        """Do what a look-up that misses does, and join."""
        claim = self.coalescer.claim(name)
        assert claim
        leader = (await self.leases.acquire([claim]) or [b""])[0]
        return self.coalescer.join(name, leader, self.generate, self._store, "")

    def _store(self, reply: Reply, frames: bytes) -> None:
        self.stored.append((reply, frames))

    async def read(self, stop_after: int | None = None) -> tuple[str, Reply | ChatLLMError | None, set[str]]:
        """Return the text, the end and the ids; leaves after `stop_after` pieces."""
        subscription, _ = await self.join()
        count = 0
        end: Reply | ChatLLMError | None = None
        with closing(subscription):
            try:
                while count != stop_after and await subscription.next() is not None:
                    count += 1
                end = await subscription.reply() if count != stop_after else None
            except ChatLLMError as error:
                end = error
        events = payloads(subscription.taken())
        return text_of(subscription.taken()), end, {event["id"] for event in events}

    def die(self) -> None:
        """Lose all connections at once, as a killed process does."""
        server = self.listener._server
        for connection in list(server._connections):
            connection.abort()
        if server._server:
            server._server.close()
        for task in self.peers._delivery._pool._connections.values():
            task.result().abort()


def text_of(data: bytes) -> str:
    return "".join(event["choices"][0]["delta"].get("content") or "" for event in payloads(data))


@pytest.fixture
def leases() -> Leases:
    return Leases()


@pytest.fixture
async def replicas(leases: Leases) -> AsyncGenerator[list[Replica]]:
    made: list[Replica] = []
    for _ in range(3):
        listener = Listener()
        await listener.open("127.0.0.1")
        peers = Peers(listener)
        made.append(Replica(listener, peers, Coalescer(leases, peers), leases))
    yield made
    for replica in made:
        await replica.coalescer.aclose()
        await replica.listener.aclose()
    await asyncio.sleep(0.02)


WHOLE = "".join(WORDS)


async def test_over_replicas_it_is_one_generation(replicas: list[Replica]) -> None:
    answers = await asyncio.gather(*(replica.read() for replica in replicas for _ in range(20)))
    assert {text for text, _, _ in answers} == {WHOLE}
    assert all(isinstance(end, Reply) for _, end, _ in answers)
    assert sum(replica.generations for replica in replicas) == 1
    [(reply, frames)] = [stored for replica in replicas for stored in replica.stored]  # where it was generated
    assert text_of(frames) == orjson.loads(reply.body)["choices"][0]["message"]["content"] == WHOLE


async def test_who_comes_late_elsewhere_gets_all_of_it(replicas: list[Replica]) -> None:
    first = asyncio.create_task(replicas[0].read())
    await asyncio.sleep(0.1)
    assert (await replicas[1].read())[0] == WHOLE
    await first
    assert (await replicas[1].read())[0] == WHOLE  # the entry in the cache may not be there yet
    assert [replica.generations for replica in replicas] == [1, 0, 0]


async def test_who_joins_elsewhere_knows_what_it_has_used(replicas: list[Replica]) -> None:
    first = asyncio.create_task(replicas[0].read())
    await asyncio.sleep(0.05)
    subscription, is_joined = await replicas[1].join()
    with closing(subscription):
        assert await subscription.next() and is_joined
        assert subscription.usage.prompt_tokens == 7
    await first


async def test_the_leaders_reader_leaves_and_those_elsewhere_have_it_whole(replicas: list[Replica]) -> None:
    leader = asyncio.create_task(replicas[0].read(stop_after=5))
    await asyncio.sleep(0.02)
    assert {text for text, _, _ in await asyncio.gather(replicas[1].read(), replicas[2].read())} == {WHOLE}
    await leader
    assert [replica.generations for replica in replicas] == [1, 0, 0]


async def test_when_the_last_leaves_elsewhere_the_generation_stops(replicas: list[Replica]) -> None:
    leader = asyncio.create_task(replicas[0].read(stop_after=3))
    await asyncio.sleep(0.01)
    await replicas[1].read(stop_after=6)
    await leader
    async with asyncio.timeout(0.2):
        while not replicas[0].stopped:
            await asyncio.sleep(0.01)


async def test_the_leaders_replica_dies_and_one_takes_over(replicas: list[Replica]) -> None:
    lost = asyncio.create_task(replicas[0].read())
    await asyncio.sleep(0.05)
    others = [asyncio.create_task(replica.read()) for replica in replicas[1:] for _ in range(10)]
    await asyncio.sleep(0.1)
    replicas[0].die()
    answers = await asyncio.gather(*others)
    assert {text for text, _, _ in answers} == {WHOLE}
    assert all(isinstance(end, Reply) and len(ids) == 1 for _, end, ids in answers)
    assert sorted(replica.generations for replica in replicas[1:]) == [0, 1]
    await lost


async def test_taken_over_another_text_is_a_failure_and_never_a_mixture(replicas: list[Replica]) -> None:
    lost = asyncio.create_task(replicas[0].read())
    await asyncio.sleep(0.05)
    replicas[1].words = ["other "] * 30
    other = asyncio.create_task(replicas[1].read())
    await asyncio.sleep(0.1)
    replicas[0].die()
    text, end, _ = await other
    assert WHOLE.startswith(text)
    assert isinstance(end, ChatLLMError)
    await lost


async def test_a_closing_replica_hands_over(replicas: list[Replica]) -> None:
    lost = asyncio.create_task(replicas[0].read())
    await asyncio.sleep(0.05)
    other = asyncio.create_task(replicas[1].read())
    await asyncio.sleep(0.05)
    await replicas[0].coalescer.aclose()
    text, end, _ = await other
    assert (text, isinstance(end, Reply)) == (WHOLE, True)
    assert isinstance((await lost)[1], ChatLLMError)


async def test_a_models_failure_is_everybodys_and_taken_over_by_none(replicas: list[Replica]) -> None:
    replicas[0].failure = Failed(Unavailable("lost", None, 1.0))
    first = asyncio.create_task(replicas[0].read())
    await asyncio.sleep(0.05)
    _, end, _ = await replicas[1].read()
    assert isinstance(end, Unavailable) and end.message == "lost"
    await first
    assert [replica.generations for replica in replicas] == [1, 0, 0]


async def test_a_claim_without_a_generation_is_taken_over(replicas: list[Replica], leases: Leases) -> None:
    claim = replicas[0].coalescer.claim("key")
    assert claim
    await leases.acquire([claim])
    assert (await replicas[1].read())[0] == WHOLE
    assert (await leases.acquire([claim]))[0] != claim.address


async def test_without_leases_each_generates_for_itself(replicas: list[Replica], leases: Leases) -> None:
    leases.is_away = True
    answers = await asyncio.gather(*(replica.read() for replica in replicas for _ in range(5)))
    assert {text for text, _, _ in answers} == {WHOLE}
    assert [replica.generations for replica in replicas] == [1, 1, 1]


async def test_a_lease_is_renewed_while_it_generates(
    replicas: list[Replica], leases: Leases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployments.chat.coalescing.RENEWAL_S", 0.02)
    leases.claims = MemoryClaims(ttl_s=0.1)
    reading = asyncio.create_task(replicas[0].read())
    await asyncio.sleep(0.2)
    mine, other = replicas[0].coalescer.claim("key"), replicas[1].coalescer.claim("key")
    assert mine and other
    assert await leases.acquire([other]) == [mine.address]
    await reading
    await asyncio.sleep(0.15)
    assert await leases.acquire([other]) == [other.address]


async def test_a_frozen_replica_is_noticed(replicas: list[Replica], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.chat.peers.SILENCE_S", 0.1)
    first = asyncio.create_task(replicas[0].read())
    await asyncio.sleep(0.05)
    other = asyncio.create_task(replicas[1].read())
    await asyncio.sleep(0.05)
    for task in replicas[0].peers._delivery._pool._connections.values():
        monkeypatch.setattr(task.result(), "write", lambda *_: None)
    text, end, _ = await other
    assert (text, isinstance(end, Reply)) == (WHOLE, True)
    await first

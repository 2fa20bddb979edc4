"""Flights over several ingress replicas: each with its own listener, on real connections, and one registry."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

import orjson
import pytest

from deployments.cache.claims import Claim, MemoryClaims
from deployments.errors import Unavailable
from deployments.flights.flights import Flights
from deployments.flights.neighbours import Neighbours
from deployments.models.assembly import assemble, payloads, sse
from deployments.models.listener import Listener
from deployments.models.protocol import Failed, Frames, Message, Reply

WORDS = [f"word{number} " for number in range(30)]


class Registry:
    """Claims that can be away."""

    def __init__(self) -> None:
        self.claims = MemoryClaims()
        self.is_away = False

    async def hold(self, claims: Sequence[Claim]) -> list[bytes]:
        return [] if self.is_away else await self.claims.hold(claims)


@dataclass
class Replica:
    """One ingress replica, and a model that says the words slowly."""

    listener: Listener
    neighbours: Neighbours
    flights: Flights
    registry: Registry
    generations: int = 0
    stopped: int = 0
    words: Sequence[str] = tuple(WORDS)
    failure: Failed | None = None

    async def generate(self) -> AsyncGenerator[Message]:
        self.generations += 1
        head = {"id": f"chatcmpl-{id(self)}-{self.generations}", "created": 1, "object": "chat.completion.chunk"}
        events: list[bytes] = []
        try:
            for number, word in enumerate(self.words):
                finish = "stop" if number + 1 == len(self.words) else None
                choice = {"index": 0, "delta": {"content": word}, "finish_reason": finish}
                events.append(sse({**head, "choices": [choice]}))
                yield Frames(events[-1])
                await asyncio.sleep(0.01)
        finally:
            self.stopped += 1
        yield self.failure or Reply(orjson.dumps(assemble(payloads(b"".join(events)))), 1, len(self.words), "stop")

    async def board(self, name: str = "key") -> tuple[AsyncGenerator[Message], bool]:
        """Do what a look-up that misses does, and board."""
        claim = self.flights.claim(name)
        assert claim
        holder = (await self.registry.hold([claim]) or [b""])[0]
        return self.flights.board(name, holder, self.generate)

    async def read(self, stop_after: int | None = None) -> tuple[str, Message | None, set[str]]:
        """Return the text, the end and the ids; leaves after `stop_after` messages."""
        messages, _ = await self.board()
        data, count = b"", 0
        try:
            async for message in messages:
                count += 1
                if not isinstance(message, Frames):
                    return text_of(data), message, {event["id"] for event in payloads(data)}
                data += message.data
                if count == stop_after:
                    break
            return text_of(data), None, set()
        finally:
            await messages.aclose()

    def die(self) -> None:
        """Lose all connections at once, as a killed process does."""
        for connection in list(self.listener._connections):
            connection.close()
        if self.listener._server:
            self.listener._server.close()
        for task in self.neighbours._delivery._connections.values():
            task.result()._transport.abort()
        self.neighbours._delivery._connections.clear()


def text_of(data: bytes) -> str:
    return "".join(event["choices"][0]["delta"].get("content") or "" for event in payloads(data))


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
async def replicas(registry: Registry) -> AsyncGenerator[list[Replica]]:
    made: list[Replica] = []
    for _ in range(3):
        listener = Listener()
        await listener.open("127.0.0.1")
        neighbours = Neighbours(listener)
        made.append(Replica(listener, neighbours, Flights(registry, neighbours), registry))
    yield made
    for replica in made:
        await replica.flights.aclose()
        await replica.listener.aclose()
    await asyncio.sleep(0.02)


WHOLE = "".join(WORDS)


async def test_over_replicas_it_is_one_generation(replicas: list[Replica]) -> None:
    answers = await asyncio.gather(*(replica.read() for replica in replicas for _ in range(20)))
    assert {text for text, _, _ in answers} == {WHOLE}
    assert all(isinstance(end, Reply) for _, end, _ in answers)
    assert sum(replica.generations for replica in replicas) == 1


async def test_who_comes_late_elsewhere_gets_all_of_it(replicas: list[Replica]) -> None:
    first = asyncio.create_task(replicas[0].read())
    await asyncio.sleep(0.1)
    assert (await replicas[1].read())[0] == WHOLE
    await first
    assert (await replicas[1].read())[0] == WHOLE  # the entry in the cache may not be there yet
    assert [replica.generations for replica in replicas] == [1, 0, 0]


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
    assert isinstance(end, Failed)
    await lost


async def test_a_closing_replica_hands_over(replicas: list[Replica]) -> None:
    lost = asyncio.create_task(replicas[0].read())
    await asyncio.sleep(0.05)
    other = asyncio.create_task(replicas[1].read())
    await asyncio.sleep(0.05)
    await replicas[0].flights.aclose()
    text, end, _ = await other
    assert (text, isinstance(end, Reply)) == (WHOLE, True)
    assert isinstance((await lost)[1], Failed)


async def test_a_models_failure_is_everybodys_and_taken_over_by_none(replicas: list[Replica]) -> None:
    replicas[0].failure = Failed(Unavailable("lost", None, 1.0))
    first = asyncio.create_task(replicas[0].read())
    await asyncio.sleep(0.05)
    _, end, _ = await replicas[1].read()
    assert isinstance(end, Failed) and end.error.message == "lost"
    await first
    assert [replica.generations for replica in replicas] == [1, 0, 0]


async def test_a_claim_without_a_flight_is_taken_over(replicas: list[Replica], registry: Registry) -> None:
    claim = replicas[0].flights.claim("key")
    assert claim
    await registry.hold([claim])
    assert (await replicas[1].read())[0] == WHOLE
    assert (await registry.hold([claim]))[0] != claim.address


async def test_without_the_registry_each_generates_for_itself(replicas: list[Replica], registry: Registry) -> None:
    registry.is_away = True
    answers = await asyncio.gather(*(replica.read() for replica in replicas for _ in range(5)))
    assert {text for text, _, _ in answers} == {WHOLE}
    assert [replica.generations for replica in replicas] == [1, 1, 1]


async def test_a_claim_is_renewed_while_it_flies(
    replicas: list[Replica], registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployments.flights.flights.RENEWAL_S", 0.02)
    registry.claims = MemoryClaims(ttl_s=0.1)
    reading = asyncio.create_task(replicas[0].read())
    await asyncio.sleep(0.2)
    mine, other = replicas[0].flights.claim("key"), replicas[1].flights.claim("key")
    assert mine and other
    assert await registry.hold([other]) == [mine.address]
    await reading
    await asyncio.sleep(0.15)
    assert await registry.hold([other]) == [other.address]


async def test_a_frozen_replica_is_noticed(replicas: list[Replica], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.flights.neighbours.SILENCE_S", 0.1)
    first = asyncio.create_task(replicas[0].read())
    await asyncio.sleep(0.05)
    other = asyncio.create_task(replicas[1].read())
    await asyncio.sleep(0.05)
    for task in replicas[0].neighbours._delivery._connections.values():
        monkeypatch.setattr(task.result(), "write", lambda _: None)
    text, end, _ = await other
    assert (text, isinstance(end, Reply)) == (WHOLE, True)
    await first

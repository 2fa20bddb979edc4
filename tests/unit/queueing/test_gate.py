"""The queue around calls: who is let in, and that those who leave never are."""

import asyncio

import pytest

from deployments.errors import Overloaded
from deployments.queueing.gate import Gate
from deployments.queueing.job import Job
from deployments.queueing.queue import Bounds


class Called:
    """Calls of a model that end when they are told to."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.began: list[str] = []
        self.ends: dict[str, asyncio.Event] = {}

    async def call(self, name: str, job: Job) -> None:
        self.ends[name] = asyncio.Event()
        async with self.gate.admitted(job):
            self.began.append(name)
            await self.ends[name].wait()

    def start(self, name: str, key_id: str = "a") -> tuple["asyncio.Task[None]", Job]:
        job = Job(key_id, prompt_tokens=10)
        return asyncio.create_task(self.call(name, job)), job


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_the_next_begins_when_one_has_ended() -> None:
    called = Called(Gate(lambda: 1))
    first, _ = called.start("first")
    second, job = called.start("second")
    await turns()
    assert called.began == ["first"]
    assert str(job.notice()) == "waiting in the queue, position 1"
    called.ends["first"].set()
    await first
    await turns()
    assert called.began == ["first", "second"]
    assert job.notice() is None
    called.ends["second"].set()
    await second
    assert called.gate.queue.slots.running == 0


async def test_a_client_that_has_gone_while_waiting_never_reaches_the_model() -> None:
    called = Called(Gate(lambda: 1))
    first, _ = called.start("first")
    second, _ = called.start("second")
    third, _ = called.start("third")
    await turns()
    second.cancel()
    await asyncio.wait([second])
    called.ends["first"].set()
    await turns()
    assert called.began == ["first", "third"]
    called.ends["third"].set()
    await asyncio.gather(first, third)
    assert called.gate.queue.slots.running == called.gate.queue.waiting == 0


async def test_one_whose_turn_has_just_come_when_it_leaves_gives_it_on() -> None:
    called = Called(Gate(lambda: 1))
    first, _ = called.start("first")
    second, _ = called.start("second")
    third, _ = called.start("third")
    await turns()
    called.ends["first"].set()
    await first  # the second's turn has come, and it has not run yet
    second.cancel()
    await asyncio.wait([second])
    await turns()
    assert called.began[-1] == "third"
    called.ends["third"].set()
    await third
    assert called.gate.queue.slots.running == 0


async def test_a_model_that_grows_lets_more_in() -> None:
    places = 1
    called = Called(Gate(lambda: places))
    tasks = [called.start(name)[0] for name in "abc"]
    await turns()
    assert called.began == ["a"]
    places = 3
    called.gate.start()
    await turns()
    assert called.began == ["a", "b", "c"]
    for event in called.ends.values():
        event.set()
    await asyncio.gather(*tasks)


async def test_nobody_waits_for_ever() -> None:
    gate = Gate(lambda: 1)
    gate.configure(Bounds(wait_s=0.01))
    called = Called(gate)
    first, _ = called.start("first")
    second, _ = called.start("second")
    with pytest.raises(Overloaded):
        await second
    assert gate.queue.waiting == 0
    called.ends["first"].set()
    await first


async def test_those_who_leave_together_with_the_one_that_runs_disturb_nobody() -> None:
    called = Called(Gate(lambda: 1))
    first, _ = called.start("first")
    leaving = [called.start(f"leaving {number}")[0] for number in range(3)]
    last, _ = called.start("last")
    await turns()
    for task in (first, *leaving):  # in one turn of the event loop, as when a client's connection breaks
        task.cancel()
    ended = await asyncio.gather(first, *leaving, return_exceptions=True)
    assert [type(error) for error in ended] == [asyncio.CancelledError] * 4
    await turns()
    assert called.began == ["first", "last"]
    called.ends["last"].set()
    await last
    assert called.gate.queue.slots.running == 0

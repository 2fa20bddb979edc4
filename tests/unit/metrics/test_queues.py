"""The metrics of the queues in front of models: what Ray hears of a flood, and of its end."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from deployments.config import QueueSettings, ScriptedModel
from deployments.errors import Overloaded, TooManyRequests
from deployments.metrics import gathered, queues
from deployments.models.queues import ModelQueues
from deployments.queueing.job import Job

MODEL = ScriptedModel(
    id="it", kind="scripted", slots=1, queue=QueueSettings(max_waiting=3, max_waiting_per_key=2, max_wait_s=30)
)
PLACE = ("app", "model-it")


class Told:
    """Stands where Ray's gauges and counters do, and keeps what they are told."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, ...], float] = {}

    def set(self, value: float, tags: dict[str, str]) -> None:
        self.values[tuple(tags.values())] = value

    def inc(self, value: float, tags: dict[str, str]) -> None:
        self.values[tuple(tags.values())] = self.values.get(tuple(tags.values()), 0.0) + value


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Told]:
    """Return what is told: requests, tokens, seconds, refusals."""
    made = [Told() for _ in range(4)]
    monkeypatch.setattr(queues, "_gauges", lambda: tuple(made[:3]))
    monkeypatch.setattr(queues, "_refusals", lambda: made[3])
    monkeypatch.setattr(gathered, "FLUSH_S", 0.01)
    return made


async def until(told: Told, expected: dict[Any, float]) -> None:
    async with asyncio.timeout(10):
        while told.values != expected:
            await asyncio.sleep(0.01)


async def test_a_flood_is_told_while_it_lasts(told: list[Told], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.models.queues.SHOW_S", 0.02)
    requests, tokens, seconds, refusals = told
    models, end = ModelQueues(lambda model, place: 1), asyncio.Event()

    async def ask(**job: Any) -> None:
        async with models.admitted(MODEL, PLACE, "chat", Job(prompt_tokens=10, **job)):
            await end.wait()

    running = [asyncio.create_task(ask(key_id="a"))]
    await until(requests, {("it", "interactive"): 0, ("it", "batch"): 0})
    running += [asyncio.create_task(ask(key_id="a")) for _ in range(2)]
    running.append(asyncio.create_task(ask(key_id="b", priority="batch")))
    await until(requests, {("it", "interactive"): 2, ("it", "batch"): 1})
    assert tokens.values == {("it", "interactive"): 20, ("it", "batch"): 10}
    before_s = seconds.values["it", "interactive"]
    async with asyncio.timeout(10):
        while seconds.values["it", "interactive"] < before_s + 0.5:
            await asyncio.sleep(0.05)
    for key_id in ("a", "c"):
        with suppress(TooManyRequests, Overloaded):
            await ask(key_id=key_id)
    await until(refusals, {("it", "interactive", "key_full"): 1, ("it", "interactive", "full"): 1})
    end.set()
    await asyncio.gather(*running)
    await until(requests, {("it", "interactive"): 0, ("it", "batch"): 0})
    assert set(seconds.values.values()) == {0.0}


async def test_who_waits_too_long_or_would_leave_first_is_counted(told: list[Told]) -> None:
    models = ModelQueues(lambda model, place: 1)
    patient = MODEL.model_copy(update={"queue": QueueSettings(max_wait_s=0.2)})
    async with models.admitted(patient, PLACE, "chat", Job()):
        with pytest.raises(Overloaded):
            async with models.admitted(patient, PLACE, "chat", Job(priority="batch")):
                pass
    await until(told[3], {("it", "batch", "max_wait"): 1})

"""One queued call wakes a model for all who wait, and is withdrawn with the last of them; only Serve is played."""

import asyncio
from collections.abc import AsyncGenerator, Callable

import pytest

from deployments.errors import ModelFailed, ModelNotFound
from deployments.models import waking
from deployments.models.waking import Demand


class Serve:
    """A deployment, and the calls that its handle has queued."""

    def __init__(self) -> None:
        self.status = "loading"
        self.calls: list[asyncio.Future[None]] = []

    def call(self) -> "asyncio.Future[None]":
        self.calls.append(asyncio.get_running_loop().create_future())
        return self.calls[-1]

    @property
    def queued(self) -> int:
        return sum(not call.done() for call in self.calls)

    async def tell(self) -> str:
        return self.status


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Serve:
    monkeypatch.setattr(waking, "POLL_S", 0.01)
    monkeypatch.setattr(waking, "RETRY_S", 0.02)
    return Serve()


@pytest.fixture
async def demand(serve: Serve) -> AsyncGenerator[Demand]:
    demand = Demand(serve.call, serve.tell)
    yield demand
    await demand.aclose()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def test_one_call_is_queued_for_all_who_wait(serve: Serve, demand: Demand) -> None:
    waiting = [asyncio.create_task(demand.ready()) for _ in range(50)]
    await until(lambda: serve.queued == 1)
    assert demand.since is not None
    serve.status = "ready"
    await asyncio.gather(*waiting)
    assert len(serve.calls) == 1 and serve.queued == 0 and demand.since is None


async def test_a_model_that_runs_is_not_called(serve: Serve, demand: Demand) -> None:
    serve.status = "ready"
    await demand.ready()
    assert not serve.calls


async def test_the_last_who_leaves_withdraws_the_call_and_the_next_one_begins_anew(
    serve: Serve, demand: Demand
) -> None:
    first, second = (asyncio.create_task(demand.ready()) for _ in range(2))
    await until(lambda: serve.queued == 1)
    first.cancel()
    await asyncio.wait((first,))
    assert serve.queued == 1
    second.cancel()
    await until(lambda: serve.queued == 0)
    assert demand.since is None
    third = asyncio.create_task(demand.ready())
    await until(lambda: serve.queued == 1)
    serve.status = "ready"
    await third


@pytest.mark.parametrize(("status", "error"), [("failed", ModelFailed), ("removed", ModelNotFound)])
async def test_a_model_that_fails_or_is_removed_is_an_error_for_all_who_wait(
    serve: Serve, demand: Demand, status: str, error: type[Exception]
) -> None:
    waiting = [asyncio.create_task(demand.ready()) for _ in range(3)]
    await until(lambda: serve.queued == 1)
    serve.status = status
    assert [type(raised) for raised in await asyncio.gather(*waiting, return_exceptions=True)] == [error] * 3
    assert serve.queued == 0


async def test_a_call_that_fails_is_repeated_while_anyone_waits(serve: Serve, demand: Demand) -> None:
    waiting = asyncio.create_task(demand.ready())
    await until(lambda: serve.queued == 1)
    serve.calls[0].set_exception(RuntimeError("the replica died"))
    await until(lambda: len(serve.calls) == 2 and serve.queued == 1)
    serve.status = "ready"
    await waiting


async def test_a_nudge_is_a_demand_for_a_while(serve: Serve, demand: Demand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waking, "NUDGE_S", 0.1)
    demand.nudge()
    await until(lambda: serve.queued == 1)
    waiting = asyncio.create_task(demand.ready())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait((waiting,))
    assert serve.queued == 1
    await until(lambda: serve.queued == 0)

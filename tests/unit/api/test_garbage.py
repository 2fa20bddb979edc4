"""A request that has ended is gone: nothing of it waits for the garbage collector, and nothing of it stays."""

import asyncio
import gc
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Any

import pytest

from deployments.config import ScriptedModel
from tests.unit.api.conftest import Service, running

REQUESTS = 20
SETTLE_S = 10
CHAT: dict[str, Any] = {"model": "quick", "temperature": 0.5}


@pytest.fixture
async def service() -> AsyncGenerator[Service]:
    quick = ScriptedModel(id="quick", kind="scripted", tokens=8)
    slow = ScriptedModel(id="slow", kind="scripted", tokens=500, token_ms=20)
    async with running(quick, slow, cache={"hot_bytes": 0}) as service:
        yield service


def _said(number: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"hello {number}"}]


async def plain(service: Service, number: int) -> None:
    reply = await service.http.post("/v1/chat/completions", json=CHAT | {"messages": _said(number)})
    assert reply.status_code == 200


async def streamed(service: Service, number: int, **headers: str) -> None:
    body = CHAT | {"messages": _said(number), "stream": True}
    reply = await service.http.post("/v1/chat/completions", json=body, headers=headers)
    assert reply.text.endswith("data: [DONE]\n\n")


async def resumable(service: Service, number: int) -> None:
    await streamed(service, number, **{"x-chatllm-resumable": "1"})


async def cached(service: Service, number: int) -> None:
    body = CHAT | {"messages": _said(0), "temperature": 0}
    reply = await service.http.post("/v1/chat/completions", json=body)
    assert reply.status_code == 200


async def completion(service: Service, number: int) -> None:
    reply = await service.http.post("/v1/completions", json=CHAT | {"prompt": f"hello {number}"})
    assert reply.status_code == 200


async def response(service: Service, number: int) -> None:
    reply = await service.http.post(
        "/v1/responses", json={"model": "quick", "input": f"hello {number}", "store": False}
    )
    assert reply.status_code == 200


async def message(service: Service, number: int) -> None:
    body = {"model": "quick", "max_tokens": 8, "messages": _said(number)}
    assert (await service.http.post("/v1/messages", json=body)).status_code == 200


async def left(service: Service, number: int) -> None:
    body = CHAT | {"model": "slow", "messages": _said(number), "stream": True}
    async with service.http.stream("POST", "/v1/chat/completions", json=body) as reply:
        await anext(reply.aiter_lines())


async def refused(service: Service, number: int) -> None:
    reply = await service.http.post("/v1/chat/completions", json=CHAT | {"messages": [], "seed": number})
    assert reply.status_code == 400


Kind = Callable[[Service, int], Awaitable[None]]
KINDS: tuple[Kind, ...] = (plain, streamed, cached, completion, response, message, refused)


@pytest.mark.parametrize("is_kept", [False, True])
async def test_a_stream_that_has_begun_holds_its_prompt_only_as_the_model_was_asked(
    service: Service, is_kept: bool
) -> None:
    """Not what was decoded of it; the scripted model has a copy of its own, and so has a store in memory."""
    said = "a long story " * 100
    body: dict[str, Any] = CHAT | {"model": "slow", "messages": [{"role": "user", "content": said}], "stream": True}
    if is_kept:
        body["conversation"] = (await service.http.post("/v1/conversations", json={})).json()["id"]
    async with service.http.stream("POST", "/v1/chat/completions", json=body) as reply:
        assert reply.status_code == 200
        await anext(reply.aiter_lines())
        body.clear()
        held = [one for one in gc.get_objects() if isinstance(one, list) and any(_says(each, said) for each in one)]
        assert 1 <= len(held) <= 1 + is_kept


def _says(message: object, text: str) -> bool:
    return isinstance(message, dict) and message.get("content") == text


@contextmanager
def no_collection() -> Generator[None]:
    gc.collect()
    thresholds = gc.get_threshold()
    gc.set_threshold(0)  # not gc.disable: reading JSON enables it again
    try:
        yield
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.set_threshold(*thresholds)


def _ours(objects: list[Any]) -> Counter[str]:
    found = (type(one) for one in objects)
    return Counter(
        f"{kind.__module__}.{kind.__qualname__}" for kind in found if str(kind.__module__).startswith("deployments.")
    )


async def _ended(service: Service) -> None:
    """Wait until no request has a task any more."""
    async with asyncio.timeout(SETTLE_S):
        while any(task.get_name() in ("client", "generation") for task in asyncio.all_tasks()):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)


# Without those that are left: a task that was cancelled keeps what it ran, and a generation its task.
@pytest.mark.parametrize("kind", (*KINDS, resumable), ids=lambda kind: kind.__name__)
async def test_nothing_of_a_request_waits_for_the_garbage_collector(service: Service, kind: Kind) -> None:
    await kind(service, -1)
    await _ended(service)
    with no_collection():
        for number in range(REQUESTS):
            await kind(service, number)
        await _ended(service)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        garbage = _ours(gc.garbage)
    assert not {name: count for name, count in garbage.items() if count >= REQUESTS // 2}, garbage


# Without those that are resumable, whose logs in memory stay for a while.
@pytest.mark.parametrize("kind", (*KINDS, left), ids=lambda kind: kind.__name__)
async def test_nothing_of_a_request_stays(service: Service, kind: Kind) -> None:
    async def live_after(numbers: range) -> Counter[str]:
        for number in numbers:
            await kind(service, number)
        await _ended(service)
        gc.collect()
        return _ours(gc.get_objects())

    before = await live_after(range(REQUESTS))
    more = await live_after(range(REQUESTS, 3 * REQUESTS))
    grown = {name: count - before[name] for name, count in more.items() if count - before[name] >= REQUESTS}
    assert not grown

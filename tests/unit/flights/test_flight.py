"""One generation, any number of readers: what each gets, and who may leave."""

import asyncio
import contextvars
from collections.abc import AsyncGenerator, Callable

import pytest

from deployments.errors import ChatLLMError, Overloaded
from deployments.flights import flight as flight_module
from deployments.flights.flight import Flight
from deployments.models.protocol import Failed, Frames, Message, Reply

END = Reply(b"{}", 1, 2, "stop")


class Generation:
    """A generation whose messages are pushed by the test, and which tells whether it was closed."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Message | Exception] = asyncio.Queue()
        self.is_closed = False

    def push(self, *messages: Message | Exception) -> None:
        for message in messages:
            self._queue.put_nowait(message)

    async def messages(self) -> AsyncGenerator[Message]:
        try:
            while True:
                message = await self._queue.get()
                if isinstance(message, Exception):
                    raise message
                yield message
                if not isinstance(message, Frames):
                    return
        finally:
            self.is_closed = True


@pytest.fixture
def generation() -> Generation:
    return Generation()


def flight_of(generation: Generation, closed: Callable[[Flight], None] = lambda _: None) -> Flight:
    return Flight(generation.messages(), closed)


async def read(flight: Flight) -> tuple[bytes, Message]:
    """Return all frames together, and the end."""
    data = b""
    async for message in flight.read():
        if isinstance(message, Frames):
            data += message.data
        else:
            return data, message
    raise AssertionError("no end")


async def test_every_reader_gets_all_of_one_generation(generation: Generation) -> None:
    flight = flight_of(generation)
    readers = [asyncio.create_task(read(flight)) for _ in range(100)]
    await asyncio.sleep(0)
    for number in range(10):
        generation.push(Frames(b"%d " % number))
        await asyncio.sleep(0)
        readers.append(asyncio.create_task(read(flight)))
    generation.push(END)
    assert await asyncio.gather(*readers) == [(b"0 1 2 3 4 5 6 7 8 9 ", END)] * 110


async def test_who_comes_late_gets_what_there_is_at_once_and_then_the_tail(generation: Generation) -> None:
    flight = flight_of(generation)
    first = asyncio.create_task(read(flight))
    generation.push(Frames(b"a"), Frames(b"b"))
    await asyncio.sleep(0.01)
    late = flight.read()
    assert await anext(late) == Frames(b"ab")
    following = asyncio.ensure_future(anext(late))
    await asyncio.sleep(0.01)
    assert not following.done()
    generation.push(Frames(b"c"))
    assert await following == Frames(b"c")
    generation.push(END)
    assert await anext(late) == END
    assert (await first)[0] == b"abc"


async def test_one_who_leaves_hurts_no_other_and_the_last_stops_the_work(generation: Generation) -> None:
    closed: list[Flight] = []
    flight = flight_of(generation, closed.append)
    first, second = (asyncio.create_task(read(flight)) for _ in range(2))
    generation.push(Frames(b"a"))
    await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.sleep(0.01)
    assert (generation.is_closed, flight.is_open) == (False, True)
    second.cancel()
    await asyncio.sleep(0.01)
    assert (generation.is_closed, flight.is_open, closed) == (True, False, [flight])
    assert not flight.is_whole


@pytest.mark.parametrize("error", [Overloaded("full", None, 2.0), ValueError("secret")])
async def test_a_failure_is_the_end_for_all(generation: Generation, error: Exception) -> None:
    flight = flight_of(generation)
    readers = [asyncio.create_task(read(flight)) for _ in range(3)]
    await asyncio.sleep(0)
    generation.push(Frames(b"a"), error)
    ends = [end for _, end in await asyncio.gather(*readers)]
    errors = [end.error for end in ends if isinstance(end, Failed)]
    assert len({id(each) for each in errors}) == 3
    kind = Overloaded if isinstance(error, Overloaded) else ChatLLMError
    assert all(type(each) is kind and "secret" not in each.message for each in errors)


async def test_a_generation_without_an_end_is_a_failure() -> None:
    async def nothing() -> AsyncGenerator[Message]:
        return
        yield

    _, end = await read(Flight(nothing(), lambda _: None))
    assert isinstance(end, Failed)


async def test_past_the_bound_nobody_joins_and_memory_is_let_go(
    generation: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flight_module, "MAX_KEPT_BYTES", 1000)
    closed: list[Flight] = []
    flight = flight_of(generation, closed.append)
    brisk, slow = asyncio.create_task(read(flight)), flight.read()
    generation.push(Frames(b"x" * 100))
    await anext(slow)
    for _ in range(60):
        generation.push(Frames(b"x" * 100))
        await asyncio.sleep(0.001)
        assert flight.kept_bytes <= 2000
    assert closed == [flight]
    generation.push(END)
    assert await brisk == (b"x" * 6100, END)
    behind = await anext(slow)
    assert isinstance(behind, Failed) and isinstance(behind.error, Overloaded)
    await slow.aclose()


async def test_the_work_does_not_run_in_the_context_of_the_request_that_began_it() -> None:
    """Serve cancels what was called in a request's context when its client leaves."""
    request: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="none")
    request.set("the first")

    async def messages() -> AsyncGenerator[Message]:
        yield Frames(request.get().encode())
        yield END

    assert await read(Flight(messages(), lambda _: None)) == (b"none", END)

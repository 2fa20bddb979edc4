"""One generation, any number of subscribers: what each gets, and who may leave."""

import asyncio
import contextvars
from contextlib import closing
from functools import partial

import pytest

from deployments.chat import generation as generation_module
from deployments.chat.generation import FINISH_S, Generation, Subscription
from deployments.errors import ChatLLMError, Overloaded
from deployments.models.protocol import Failed, Frames, Message, Progress, Reply

END = Reply(b'{"id":"chatcmpl-0","x":1}', 1, 2, "stop")


class Model:
    """A source whose messages are pushed by the test, and which tells whether it was cancelled."""

    def __init__(self) -> None:
        self._generation: Generation | None = None
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.is_closed = False

    def push(self, *messages: Message | Progress | Exception) -> None:
        assert self._generation is not None
        for message in messages:
            if isinstance(message, Exception):
                self._failure.set_exception(message)
            else:
                self._generation.put(message)
                if isinstance(message, Reply | Failed) and not self._failure.done():
                    self._failure.set_result(None)

    async def source(self, generation: Generation) -> None:
        self._generation = generation
        try:
            await self._failure
        finally:
            self.is_closed = True


@pytest.fixture
async def model() -> Model:
    return Model()


async def begun(model: Model, **options: float) -> Generation:
    generation = Generation(model.source, **options)  # type: ignore[arg-type]
    await asyncio.sleep(0)
    return generation


async def rest(subscription: Subscription) -> tuple[bytes, Reply]:
    """Return all frames that are left together, and the reply."""
    data = b""
    with closing(subscription):
        while (frames := await subscription.next()) is not None:
            data += frames
        return data, await subscription.reply()


async def read(generation: Generation) -> tuple[bytes, Reply]:
    return await rest(generation.subscribe())


async def test_every_subscriber_gets_all_of_one_generation(model: Model) -> None:
    generation = await begun(model)
    readers = [asyncio.create_task(read(generation)) for _ in range(100)]
    await asyncio.sleep(0)
    for number in range(10):
        model.push(Frames(b"%d " % number))
        await asyncio.sleep(0)
        readers.append(asyncio.create_task(read(generation)))
    await asyncio.sleep(0)
    model.push(END)
    assert await asyncio.gather(*readers) == [(b"0 1 2 3 4 5 6 7 8 9 ", END)] * 110


async def test_who_comes_late_gets_what_there_is_at_once_and_then_the_tail(model: Model) -> None:
    generation = await begun(model)
    first = asyncio.create_task(read(generation))
    await asyncio.sleep(0)
    model.push(Frames(b"a"), Frames(b"b"))
    with closing(generation.subscribe()) as late:
        assert await late.next() == b"ab"
        following = asyncio.create_task(late.next())
        await asyncio.sleep(0.01)
        assert not following.done()
        model.push(Frames(b"c"))
        assert await following == b"c"
        assert late.taken() == b"abc"
        model.push(END)
        assert (await late.next(), await late.reply()) == (None, END)
    assert (await first)[0] == b"abc"


async def test_a_plain_reader_waits_for_the_end_alone(model: Model) -> None:
    generation = await begun(model)
    with closing(generation.subscribe("chatcmpl-1")) as subscription:
        waiting = asyncio.create_task(subscription.reply())
        await asyncio.sleep(0)
        model.push(Frames(b"x" * (generation_module.MAX_UNREAD_BYTES + 1)))
        await asyncio.sleep(0)
        assert not waiting.done()
        model.push(END)
        assert (await waiting).body == b'{"id":"chatcmpl-1","x":1}'


async def test_whoever_joined_gets_it_under_another_id(model: Model) -> None:
    generation = await begun(model)
    subscription = generation.subscribe("chatcmpl-1")
    event = b'data: {"id":"chatcmpl-0","text":"\\"id\\":\\"chatcmpl-0\\","}\n\n'
    model.push(Frames(event), Frames(event), END)
    data, reply = await rest(subscription)
    assert data == event.replace(b'"id":"chatcmpl-0",', b'"id":"chatcmpl-1",') * 2
    assert subscription.taken() == data
    assert reply.body == b'{"id":"chatcmpl-1","x":1}'


async def test_one_who_leaves_hurts_no_other_and_the_last_stops_the_work(model: Model) -> None:
    closed: list[Generation] = []
    generation = Generation(model.source, closed.append)
    first, second = (asyncio.create_task(read(generation)) for _ in range(2))
    await asyncio.sleep(0)
    model.push(Frames(b"a"))
    first.cancel()
    await asyncio.sleep(0.01)
    assert (model.is_closed, generation.is_open) == (False, True)
    second.cancel()
    await asyncio.sleep(0.01)
    assert (model.is_closed, generation.is_open, closed) == (True, False, [generation])
    assert generation.is_stopped and not generation.is_whole


async def test_with_a_grace_whoever_comes_back_in_time_gets_it_whole(model: Model) -> None:
    generation = await begun(model, grace_s=0.1)
    generation.subscribe().close()
    model.push(Frames(b"a"))
    await asyncio.sleep(0.05)
    again = generation.subscribe()
    await asyncio.sleep(0.1)
    assert not model.is_closed
    model.push(Frames(b"b"), END)
    assert await rest(again) == (b"ab", END)


async def test_what_waits_for_its_end_is_called_once_however_it_ends(model: Model) -> None:
    finishing, aborted = await begun(model, grace_s=FINISH_S), await begun(Model())
    ended: list[Generation] = []
    for generation in (finishing, aborted):
        generation.when_ended(partial(ended.append, generation))
    finishing.subscribe().close()
    assert not ended, "it goes on without its reader, and keeps what it holds"
    aborted.subscribe().close()
    assert ended == [aborted]
    model.push(END)
    assert ended == [aborted, finishing]
    finishing.when_ended(partial(ended.append, finishing))
    assert ended == [aborted, finishing, finishing]


async def test_past_its_grace_it_is_aborted_and_without_end_never(model: Model) -> None:
    endless = Model()
    finishing = await begun(endless, grace_s=FINISH_S)
    generation = await begun(model, grace_s=0.02)
    generation.subscribe().close()
    finishing.subscribe().close()
    await asyncio.sleep(0.1)
    assert (model.is_closed, endless.is_closed) == (True, False)
    endless.push(END)
    assert await read(finishing) == (b"", END)


async def test_aborted_before_it_has_begun_it_ends(model: Model) -> None:
    generation = Generation(model.source)
    reading = asyncio.create_task(read(generation))
    generation.stop()
    with pytest.raises(ChatLLMError):
        await reading
    assert generation.end is not None
    await generation.ended()


@pytest.mark.parametrize("error", [Overloaded("full", None, 2.0), ValueError("secret")])
async def test_a_failure_is_the_end_for_all(model: Model, error: Exception) -> None:
    generation = await begun(model)
    readers = [asyncio.create_task(read(generation)) for _ in range(3)]
    await asyncio.sleep(0)
    model.push(Frames(b"a"), error)
    errors = await asyncio.gather(*readers, return_exceptions=True)
    assert len({id(each) for each in errors}) == 3
    kind = Overloaded if isinstance(error, Overloaded) else ChatLLMError
    assert all(type(each) is kind and "secret" not in str(each) for each in errors)


async def test_a_failure_that_was_put_ends_the_source(model: Model) -> None:
    async def source(generation: Generation) -> None:
        model._generation = generation
        try:
            await asyncio.sleep(30)
        finally:
            model.is_closed = True

    generation = Generation(source)
    reading = asyncio.create_task(read(generation))
    await asyncio.sleep(0)
    model.push(Failed(Overloaded("full", None, 2.0)))
    with pytest.raises(Overloaded):
        await reading
    await generation.ended()
    assert model.is_closed


async def test_a_generation_without_an_end_is_a_failure() -> None:
    async def nothing(_: Generation) -> None: ...

    with pytest.raises(ChatLLMError, match="without an answer"):
        await read(Generation(nothing))


async def test_its_usage_is_known_however_it_ends(model: Model) -> None:
    generation = await begun(model)
    with closing(generation.subscribe()) as subscription:
        model.push(Progress(7, 1), Progress(7, 3), Progress(7, 2))
    assert (subscription.usage.prompt_tokens, subscription.usage.completion_tokens) == (7, 3)


async def test_what_waits_for_a_slow_reader_is_bounded(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation_module, "MAX_UNREAD_BYTES", 1000)
    generation = await begun(model)
    brisk, slow = asyncio.create_task(read(generation)), generation.subscribe()
    await asyncio.sleep(0)
    model.push(Frames(b"x" * 100))
    await slow.next()
    for _ in range(60):
        model.push(Frames(b"x" * 100))
        await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await slow.next()
    slow.close()
    model.push(END)
    assert await brisk == (b"x" * 6100, END)


async def test_past_the_bound_nobody_joins(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation_module, "MAX_JOINABLE_BYTES", 1000)
    closed: list[Generation] = []
    generation = Generation(model.source, closed.append)
    await asyncio.sleep(0)
    model.push(Frames(b"x" * 1000))
    assert not closed
    model.push(Frames(b"x"))
    assert closed == [generation]
    model.push(END)
    assert closed == [generation]


async def test_the_answer_is_handed_over_with_its_frames(model: Model) -> None:
    replies: list[tuple[Reply, bytes]] = []
    generation = await begun(model)
    generation.on_reply = lambda reply, frames: replies.append((reply, frames))
    model.push(Frames(b"a"), Frames(b"b"), END, END)
    assert replies == [(END, b"ab")]


async def test_the_work_does_not_run_in_the_context_of_the_request_that_began_it() -> None:
    """Serve cancels what was called in a request's context when its client leaves."""
    request: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="none")
    request.set("the first")

    async def source(generation: Generation) -> None:
        generation.put(Frames(request.get().encode()))
        generation.put(END)

    assert await read(Generation(source)) == (b"none", END)


async def test_a_message_that_cannot_be_read_after_a_restart_ends_this_generation_alone() -> None:
    """`put` runs inside the connection that all streams share, which an exception would close for all of them."""
    is_restarted = asyncio.Event()

    async def source(generation: Generation) -> None:
        generation.put(Frames(b'data: {"id":"a","choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'))
        generation.restart()
        is_restarted.set()
        await asyncio.Event().wait()

    generation = Generation(source)
    subscription = generation.subscribe()
    await is_restarted.wait()
    generation.put(Frames(b'data: {"id":"a","choices":[{"delta":"no index, no object"}]}\n\n'))
    assert await subscription.next()
    with pytest.raises(ChatLLMError):
        await subscription.next()
    await generation.ended()


async def test_a_sink_gets_the_rest_in_order_as_it_arrives(model: Model) -> None:
    generation, poured = await begun(model), list[bytes]()
    with closing(generation.subscribe()) as subscription:
        model.push(Frames(b"1"))
        assert await subscription.next() == b"1"
        subscription.divert(poured.append)
        model.push(Frames(b"2"))
        assert poured == []  # not before what was returned has been taken
        reading = asyncio.create_task(subscription.next())
        await asyncio.sleep(0)
        assert poured == [b"2"]
        model.push(Frames(b"3"))
        assert poured == [b"2", b"3"] and not reading.done()
        model.push(END)
        assert await reading is None
        assert subscription.taken() == b"123" and await subscription.reply() == END


async def test_a_sink_gets_the_answer_under_the_readers_own_id(model: Model) -> None:
    generation, poured = await begun(model), list[bytes]()
    with closing(generation.subscribe("chatcmpl-mine")) as subscription:
        subscription.divert(poured.append)
        reading = asyncio.create_task(subscription.next())
        await asyncio.sleep(0)
        model.push(Frames(b'data: {"id":"chatcmpl-0","x":1}\n\n'), END)
        assert await reading is None
    assert poured == [b'data: {"id":"chatcmpl-mine","x":1}\n\n']


async def test_a_sink_that_fails_ends_its_reader_alone(model: Model) -> None:
    def fail(_data: bytes) -> None:
        raise ValueError("of the sink")

    generation = await begun(model)
    with closing(generation.subscribe()) as subscription, closing(generation.subscribe()) as other:
        subscription.divert(fail)
        reading = asyncio.create_task(subscription.next())
        await asyncio.sleep(0)
        model.push(Frames(b"1"), END)
        with pytest.raises(ValueError, match="of the sink"):
            await reading
        assert await other.next() == b"1" and await other.next() is None


async def test_a_reader_with_a_sink_hears_of_a_failure(model: Model) -> None:
    generation, poured = await begun(model), list[bytes]()
    with closing(generation.subscribe()) as subscription:
        subscription.divert(poured.append)
        reading = asyncio.create_task(subscription.next())
        await asyncio.sleep(0)
        model.push(Frames(b"1"), Failed(Overloaded("full")))
        with pytest.raises(Overloaded, match="full"):
            await reading
    assert poured == [b"1"]

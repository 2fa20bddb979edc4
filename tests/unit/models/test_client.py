"""A model's answer ends for its reader as soon as it has ended anywhere; only Ray is played."""

import asyncio
import gc
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self

import grpc
import pytest
from ray.serve.exceptions import DeploymentUnavailableError

from deployments.config import ScriptedModel, Timeouts
from deployments.errors import BodyTooLarge, ChatLLMError, ModelFailed, Timeout, Unavailable
from deployments.models import availability
from deployments.models.client import APPLICATION, ModelClient, ServedModel
from deployments.models.delivery.listener import Stream
from deployments.models.delivery.sender import Delivery
from deployments.models.delivery.wire import Destination
from deployments.models.failover import Failover
from deployments.models.loading.estimate import Start
from deployments.models.loading.starts import MemoryStarts
from deployments.models.names import ModelNames
from deployments.models.presence import presence
from deployments.models.protocol import Failed, Frames, Message, ModelRequest, Progress, Reply, Restarted

Deliver = Callable[[ModelRequest, Destination], Awaitable[None]]
MODEL = ScriptedModel(id="played", kind="scripted")
END = Reply(b"{}", 1, 2, "stop")
TIMEOUTS = Timeouts()


@dataclass
class Handle:
    """Serve's handle of a deployment of one replica, whose `deliver` is given."""

    work: Deliver
    calls: list[asyncio.Task[None]] = field(default_factory=list[Any])
    by_reference: list[bool] = field(default_factory=list[bool])
    _by_reference: bool = False

    def options(self, _by_reference: bool = False, **_options: Any) -> "Handle":
        return Handle(self.work, self.calls, self.by_reference, _by_reference)

    @property
    def deliver(self) -> Self:
        return self

    def remote(self, model_request: ModelRequest, to: Destination) -> asyncio.Task[None]:
        async def call() -> None:
            await self.work(model_request, to)

        self.by_reference.append(self._by_reference)
        self.calls.append(asyncio.create_task(call()))
        return self.calls[-1]


async def messages(work: Deliver, body: bytes = b"{}", timeouts: Timeouts = TIMEOUTS) -> tuple[list[Message], Handle]:
    """Return the messages of an answer, up to its end."""
    handle = Handle(work)
    presence(APPLICATION, MODEL.deployment).note(1)
    served: Any = ServedModel(MODEL, "identity", handle)  # type: ignore[arg-type]
    client = ModelClient({MODEL.id: served}, ModelNames([MODEL.id], MODEL.id), timeouts)
    await client.open()
    found: list[Message] = []

    def put(message: Message | Progress | Restarted) -> None:
        assert not isinstance(message, Progress)
        if not isinstance(message, Restarted):
            found.append(message)

    try:
        await asyncio.create_task(client.generate(MODEL.id, ModelRequest("r", body, True), put))
    except ChatLLMError as error:
        found.append(Failed(error))
    except asyncio.CancelledError:
        assert isinstance(found[-1], Failed)  # past a deadline it cancels itself
    finally:
        await client.aclose()
    return found, handle


async def grpc_failure(status: grpc.StatusCode, size: int = 1) -> None:
    """Fail as a real call does whose server aborts it with `status`, or whose message is too large."""

    async def abort(_request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        await context.abort(status, "a text with a prompt in it")
        return b""

    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 1000)])
    handlers = {"call": grpc.unary_unary_rpc_method_handler(abort)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            await channel.unary_unary("/test/call")(b"x" * size)
    finally:
        await server.stop(None)


async def too_large(_request: ModelRequest, _to: Destination) -> None:
    await grpc_failure(grpc.StatusCode.INTERNAL, 2000)


async def unknown(_request: ModelRequest, _to: Destination) -> None:
    await grpc_failure(grpc.StatusCode.UNKNOWN)


async def never_loaded(_request: ModelRequest, _to: Destination) -> None:
    raise DeploymentUnavailableError("it")  # type: ignore[arg-type]


async def a_bug(_request: ModelRequest, _to: Destination) -> None:
    raise KeyError("a text with a prompt in it")


@pytest.mark.parametrize(
    ("work", "kind"),
    [(too_large, BodyTooLarge), (unknown, Unavailable), (never_loaded, ModelFailed), (a_bug, ChatLLMError)],
)
async def test_however_its_call_fails_the_stream_ends_at_once(work: Deliver, kind: type[ChatLLMError]) -> None:
    began = time.perf_counter()
    [message], _ = await messages(work)
    assert isinstance(message, Failed) and type(message.error) is kind
    assert "prompt" not in message.error.message
    assert time.perf_counter() - began < 5


async def test_work_that_its_replica_gives_up_goes_to_another_one() -> None:
    """Serve raises the replica's CancelledError at the caller, whom nobody has cancelled."""
    asked: list[ModelRequest] = []

    async def gives_up_once(request: ModelRequest, to: Destination) -> None:
        asked.append(request)
        if len(asked) == 1:
            raise asyncio.CancelledError

        async def answer() -> AsyncGenerator[Message]:
            yield END

        await Delivery().deliver(answer(), to)

    found, _ = await messages(gives_up_once)
    assert len(asked) == 2 and found[-1] == END


@pytest.mark.parametrize(
    ("timeouts", "frames"),
    [(Timeouts(first_token_s=0.2), 0), (Timeouts(idle_s=0.2), 1), (Timeouts(total_s=0.3), 100)],
    ids=["first token", "idle", "total"],
)
async def test_past_a_deadline_it_is_cancelled_at_the_engine(timeouts: Timeouts, frames: int) -> None:
    is_stopped = asyncio.Event()

    async def slow() -> AsyncGenerator[Message]:
        try:
            for _ in range(frames):
                yield Frames(b"x")
                await asyncio.sleep(0.05)
            await asyncio.sleep(30)
        finally:
            is_stopped.set()

    async def work(_request: ModelRequest, to: Destination) -> None:
        await Delivery().deliver(slow(), to)

    began = time.perf_counter()
    found, handle = await messages(work, timeouts=timeouts)
    assert time.perf_counter() - began < 5
    assert isinstance(found[-1], Failed) and isinstance(found[-1].error, Timeout)
    async with asyncio.timeout(5):
        await is_stopped.wait()
        await asyncio.wait(handle.calls)
    assert handle.calls[0].cancelled()


async def test_the_metric_of_held_requests_is_there_before_any_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, int]] = []
    monkeypatch.setattr(availability, "tell_held", lambda model, held: told.append((model, held)))

    async def work(_request: ModelRequest, to: Destination) -> None: ...

    served: Any = ServedModel(MODEL, "identity", Handle(work))  # type: ignore[arg-type]
    client = ModelClient({MODEL.id: served}, ModelNames([MODEL.id], MODEL.id), TIMEOUTS)
    assert told == [(MODEL.id, 0)]
    await client.aclose()


async def test_an_answer_whose_end_was_lost_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.models.attempts.ARRIVAL_TIMEOUT_S", 0.1)

    async def work(_request: ModelRequest, _to: Destination) -> None: ...

    [message], _ = await messages(work)
    assert isinstance(message, Failed) and isinstance(message.error, Unavailable)


@pytest.mark.parametrize(("size", "by_reference"), [(1_000_000, False), (3_000_000, True), (12_000_000, True)])
async def test_a_large_request_goes_by_reference_and_a_whole_answer_cancels_nothing(
    size: int, by_reference: bool
) -> None:
    async def work(_request: ModelRequest, to: Destination) -> None:
        async def answer() -> AsyncGenerator[Message]:
            yield END

        await Delivery().deliver(answer(), to)

    found, handle = await messages(work, b"x" * size)
    assert found == [END] and handle.by_reference == [by_reference]
    await asyncio.wait(handle.calls)
    assert not handle.calls[0].cancelled()


async def test_an_answer_is_over_when_its_last_message_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The call's own reply comes after it; it is awaited by nobody, and cancelled when the client closes."""

    async def work(_request: ModelRequest, to: Destination) -> None:
        async def answer() -> AsyncGenerator[Message]:
            yield END

        await Delivery().deliver(answer(), to)
        await asyncio.sleep(30)

    began = time.perf_counter()
    found, handle = await messages(work)
    assert found == [END] and time.perf_counter() - began < 5
    assert handle.calls[0].cancelled()


async def test_nothing_of_an_answer_waits_for_the_garbage_collector() -> None:
    async def work(_request: ModelRequest, to: Destination) -> None:
        async def answer() -> AsyncGenerator[Message]:
            yield END

        await Delivery().deliver(answer(), to)

    thresholds = gc.get_threshold()
    gc.collect()
    gc.set_threshold(0)
    try:
        for _ in range(3):
            await messages(work)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        garbage = [one for one in gc.garbage if isinstance(one, Failover | Stream)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.set_threshold(*thresholds)
    assert not garbage


@pytest.mark.parametrize(("replicas", "matters"), [(None, True), (0, True), (1, False), (2, True)])
async def test_what_a_prompt_begins_with_matters_unless_one_replica_answers_all(
    replicas: int | None, matters: bool
) -> None:
    served: Any = ServedModel(MODEL, "identity", Handle(never_loaded))  # type: ignore[arg-type]
    client = ModelClient({MODEL.id: served}, ModelNames([MODEL.id], MODEL.id), TIMEOUTS)
    presence(*served.place).replicas = replicas
    assert client.routes_by_prompt(MODEL.id) is matters


async def test_past_starts_are_told_by_model_the_newest_first() -> None:
    served = ServedModel(MODEL, "identity", Handle(lambda *_: asyncio.sleep(0)))  # type: ignore[arg-type, return-value]
    client = ModelClient({MODEL.id: served}, ModelNames([MODEL.id], MODEL.id), TIMEOUTS)
    store, first = MemoryStarts(), Start(MODEL.deployment, 1.0, {"starting": 2.0})
    second = Start(MODEL.deployment, 5.0, {"starting": 3.0})
    for start in (first, second, Start("model-removed", 9.0, {})):
        await store.add(start)
    try:
        await client.learn_starts(store)
        assert client.starts() == [(MODEL.id, second), (MODEL.id, first)]
    finally:
        await client.aclose()

"""A client that comes back to its stream: on the same replica or another, in time or too late, or after a loss."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import openai
import orjson
import pytest

from deployments.config import ProviderModel, ScriptedModel, StreamSettings
from deployments.errors import ModelFailed
from deployments.infra.redis.errors import StoreError
from deployments.models.assembly import payloads, sse
from deployments.models.delivery.listener import Listener
from deployments.models.protocol import Frames, ModelRequest
from deployments.models.scripted.replica import ScriptedReplica
from deployments.streams.memory import MemoryStreams
from deployments.streams.store import Appended, Batch, NewLog, StreamName, StreamRecord
from examples import resumable_chat
from tests.cutting import cutting_proxy
from tests.unit.api.conftest import Service, running
from tests.unit.api.test_metering import used

PATH = "/v1/chat/completions"
RESUMABLE = {"x-chatllm-resumable": "1"}
HELLO: dict[str, Any] = {
    "model": "slow",
    "messages": [{"role": "user", "content": "hello world"}],
    "temperature": 0,
    "max_tokens": 40,
}
GRACE_S = 0.5


class Logs(MemoryStreams):
    """Logs that can be away for one replica."""

    def __init__(self, shared: MemoryStreams | None = None) -> None:
        super().__init__()
        self.shared = shared or MemoryStreams()
        self.is_away = False

    def _there(self) -> MemoryStreams:
        if self.is_away:
            raise StoreError("connection")
        return self.shared

    async def open(self, log: NewLog) -> bool:
        return await self._there().open(log)

    async def append(self, batches: Sequence[Batch]) -> list[Appended]:
        return await self._there().append(batches)

    async def read(self, name: StreamName) -> StreamRecord | None:
        return await self._there().read(name)

    async def take(self, name: StreamName, lost: bytes, owner: bytes) -> bytes:
        return await self._there().take(name, lost, owner)

    async def cancel(self, name: StreamName) -> bool:
        return await self._there().cancel(name)


@dataclass
class Replica:
    """One of several ingress replicas, and how often its model was asked."""

    service: Service
    logs: Logs
    listener: Listener
    asked: Counter[str] = field(default_factory=Counter[str])

    def die(self) -> None:
        """Lose all connections at once, and write nothing any more, as a killed process does."""
        self.logs.is_away = True
        self.service.writer.submit = lambda *_, **__: None  # type: ignore[method-assign]
        server = self.listener._server
        for connection in list(server._connections):
            connection.abort()
        if server._server:
            server._server.close()


@dataclass
class Read:
    """What a client has of a stream."""

    stream_id: str = ""
    last_id: str = ""
    text: str = ""
    ids: list[str] = field(default_factory=list[str])
    finish: list[str] = field(default_factory=list[str])
    is_done: bool = False
    error: dict[str, Any] | None = None
    headers: httpx.Headers = field(default_factory=httpx.Headers)

    def take(self, line: str) -> None:
        if line.startswith("id: "):
            self.last_id = line[4:]
            self.ids.append(self.last_id)
        elif line == "data: [DONE]":
            self.is_done = True
        elif line.startswith("data: "):
            event = orjson.loads(line[6:])
            self.error = event.get("error")
            for choice in event.get("choices", ()):
                self.text += (choice["delta"].get("content") if "delta" in choice else choice["text"]) or ""
                self.finish += [choice["finish_reason"]] if choice.get("finish_reason") else []


async def read(response: httpx.Response, so_far: Read, events: int | None = None) -> Read:
    """Read so many events, or all, and leave."""
    so_far.headers = response.headers
    left = events
    async for line in response.aiter_lines():
        so_far.take(line)
        if line.startswith("data: ") and left is not None:
            left -= 1
            if left <= 0:
                break
    return so_far


async def ask(service: Service, events: int | None = None, path: str = PATH, **more: Any) -> Read:
    headers = {**RESUMABLE, **more.pop("headers", {})}
    async with service.http.stream("POST", path, json={**HELLO, "stream": True, **more}, headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        found = await read(response, Read(), events)
        found.stream_id = response.headers.get("x-chatllm-stream-id", "")
        return found


async def resume(service: Service, so_far: Read, events: int | None = None) -> Read:
    headers = {"last-event-id": so_far.last_id} if so_far.last_id else {}
    async with service.http.stream("GET", f"/v1/streams/{so_far.stream_id}", headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        return await read(response, so_far, events)


@asynccontextmanager
async def replicas(count: int, tokens: int = 500, **streams: Any) -> AsyncGenerator[list[Replica]]:
    """Run ingress replicas that share their stores and reach each other, each with a model of its own."""
    shared, made = MemoryStreams(), list[Replica]()
    slow = ScriptedModel(id="slow", kind="scripted", tokens=tokens, token_ms=10)
    settings = StreamSettings(**{"grace_s": GRACE_S, **streams})
    async with AsyncExitStack() as stack:
        for _ in range(count):
            listener, logs = Listener(), Logs(shared)
            await listener.open("127.0.0.1")
            stack.push_async_callback(listener.aclose)
            beside = made[0].service if made else None
            service = await stack.enter_async_context(
                running(slow, stream_store=logs, listener=listener, beside=beside, streams=settings)
            )
            replica = Replica(service, logs, listener)
            counted(replica)
            made.append(replica)
        yield made


def counted(replica: Replica) -> None:
    models = replica.service.models
    inner = models.replicas["slow"]

    class Counting(ScriptedReplica):
        async def generate(self, model_request: ModelRequest) -> Any:
            replica.asked["begun"] += 1
            async for message in inner.generate(model_request):
                yield message

        async def running(self) -> int:
            return await inner.running()

    models.replicas = {**models.replicas, "slow": Counting(ScriptedModel(id="slow", kind="scripted"))}


async def idle(replica: Replica, within_s: float = 5) -> None:
    async with asyncio.timeout(within_s):
        while await replica.service.models.running("slow"):
            await asyncio.sleep(0.01)


@pytest.fixture
async def pair() -> AsyncGenerator[list[Replica]]:
    async with replicas(2) as made:
        yield made


async def test_events_have_ids_only_where_that_is_asked_for(pair: list[Replica]) -> None:
    one, _ = pair
    plain = await ask(one.service, headers={"x-chatllm-resumable": "0"})
    numbered = await ask(one.service)
    assert plain.ids == [] and "x-chatllm-stream-id" not in plain.headers
    assert numbered.headers["x-chatllm-resumable"] == "1" and numbered.stream_id
    assert (numbered.text, numbered.is_done) == (plain.text, True)
    numbers = [int(id_.partition("-")[0]) for id_ in numbered.ids]
    assert numbers == list(range(len(numbers)))
    assert numbered.ids[-1].endswith(f"-{len(plain.text)}")


@pytest.mark.parametrize("path", [PATH, "/v1/completions"])
async def test_a_broken_stream_goes_on_anywhere_and_is_generated_once(pair: list[Replica], path: str) -> None:
    drawn = random.Random(7)
    prompt = {"prompt": "hello world"} if path != PATH else {}
    more: dict[str, Any] = {"headers": {"cache-control": "no-store"}, "path": path, **prompt}
    whole = await ask(pair[0].service, **more)
    begun = sum(one.asked["begun"] for one in pair)
    for _ in range(4):
        so_far = await ask(pair[0].service, drawn.randrange(1, 20), **more)
        while not so_far.is_done:
            so_far = await resume(drawn.choice(pair).service, so_far, drawn.choice([1, 3, 10, None]))
        assert (so_far.text, so_far.finish, so_far.ids) == (whole.text, whole.finish, whole.ids)
    assert sum(one.asked["begun"] for one in pair) == begun + 4


async def test_an_ended_stream_can_be_read_again_from_anywhere(pair: list[Replica]) -> None:
    whole = await ask(pair[0].service)
    again = await resume(pair[1].service, Read(whole.stream_id))
    assert (again.text, again.ids, again.is_done) == (whole.text, whole.ids, True)
    async with pair[1].service.http.stream(
        "GET", f"/v1/streams/{whole.stream_id}", params={"starting_after": 9}
    ) as response:
        rest = await read(response, Read())
    assert rest.ids == whole.ids[10:]


async def test_a_stream_stops_once_its_grace_is_over(pair: list[Replica]) -> None:
    one, other = pair
    so_far = await ask(one.service, 3, max_tokens=500)
    await asyncio.sleep(GRACE_S / 2)
    assert await one.service.models.running("slow") == 1
    so_far = await resume(other.service, so_far, 3)  # and leave again: the grace begins anew
    await asyncio.sleep(GRACE_S / 2)
    assert await one.service.models.running("slow") == 1
    await idle(one)
    late = await resume(other.service, so_far)
    assert late.error and "nobody came back" in late.error["message"] and not late.is_done


async def test_a_stream_without_a_reader_is_paid_for_to_its_end(pair: list[Replica]) -> None:
    so_far = await ask(pair[0].service, 3, max_tokens=12)  # which a busy machine makes within the grace, too
    await idle(pair[0])
    await resume(pair[1].service, so_far)
    headers = {"authorization": f"Bearer {pair[0].service.secret}"}
    async with asyncio.timeout(5):
        while not (found := await used(pair[0].service, headers)).get("completion_tokens"):
            await asyncio.sleep(0.02)
    assert (found["requests"], found["completion_tokens"]) == (1, 12)


async def test_others_cannot_tell_that_there_is_such_a_stream(pair: list[Replica]) -> None:
    whole = await ask(pair[0].service)
    _, secret = await pair[0].service.keys.create("another")
    for method in ("GET", "DELETE"):
        for stream_id in (whole.stream_id, "stream_none"):
            answer = await pair[1].service.http.request(
                method, f"/v1/streams/{stream_id}", headers={"authorization": f"Bearer {secret}"}
            )
            assert answer.status_code == 404 and answer.json()["error"]["code"] == "not_found"
    assert (await resume(pair[1].service, Read(whole.stream_id))).text == whole.text


@pytest.mark.parametrize("at", [0, 1])
async def test_a_stream_is_stopped_from_anywhere(pair: list[Replica], at: int) -> None:
    so_far = await ask(pair[0].service, 3, max_tokens=500)
    path = f"/v1/streams/{so_far.stream_id}"
    assert (await pair[at].service.http.delete(path)).json()["deleted"]
    await idle(pair[0], within_s=GRACE_S + 2)
    for one in pair:
        assert (await one.service.http.get(path)).status_code == 404


async def test_a_stream_that_redis_does_not_forget_is_stopped_and_not_called_deleted(pair: list[Replica]) -> None:
    one, other = pair
    so_far = await ask(one.service, 3, max_tokens=500)
    path = f"/v1/streams/{so_far.stream_id}"
    one.logs.is_away = True
    assert (await one.service.http.delete(path)).status_code == 503
    await idle(one)
    one.logs.is_away = False
    assert (await one.service.http.delete(path)).status_code == 200
    assert (await other.service.http.get(path)).status_code == 404
    assert other.asked["begun"] == 0


async def test_without_redis_streams_go_on_and_say_that_they_cannot_be_resumed(pair: list[Replica]) -> None:
    one, other = pair
    one.logs.is_away = True
    found = await ask(one.service)
    assert (found.headers["x-chatllm-resumable"], found.is_done, found.ids) == ("0; unavailable", True, [])
    assert found.stream_id == ""
    one.logs.is_away = False
    async with asyncio.timeout(10):
        while not (so_far := await ask(one.service, 3, headers={"cache-control": "no-store"})).stream_id:
            await asyncio.sleep(0.05)
    one.logs.is_away = True
    so_far = await resume(one.service, so_far, 5)  # here it is known all the same
    one.logs.is_away = False
    assert (await resume(other.service, so_far)).is_done


async def test_a_key_has_so_many_logs_and_no_more() -> None:
    async with replicas(1, max_logs_per_key=2) as (one,):
        headers = [(await ask(one.service)).headers["x-chatllm-resumable"] for _ in range(3)]
    assert headers == ["1", "1", "0; limit"]


async def test_a_stream_larger_than_its_log_is_resumed_until_it_ends() -> None:
    async with replicas(2, max_log_bytes=1024) as (one, other):
        so_far = await ask(one.service, 20)
        assert (await resume(other.service, so_far)).is_done
        async with asyncio.timeout(5):
            path = f"/v1/streams/{so_far.stream_id}"
            while (await other.service.http.get(path)).status_code != 404:
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("events", [1, 30])
async def test_another_replica_goes_on_where_the_one_that_generated_was_lost(pair: list[Replica], events: int) -> None:
    one, other = pair
    whole = await ask(one.service, headers={"cache-control": "no-store"})
    so_far = await ask(one.service, events, headers={"cache-control": "no-store"})
    one.logs.is_away = True  # what is sent from now on is in no log
    await resume(one.service, so_far, 5)
    one.die()
    so_far = await resume(other.service, so_far)
    assert (so_far.text, so_far.finish, so_far.is_done) == (whole.text, whole.finish, True)


@pytest.mark.parametrize("losses", [1, 2])
async def test_another_replica_goes_on_with_a_stream_whose_log_was_never_written(losses: int) -> None:
    """Each time the answer comes in larger pieces, as from an engine that is busy."""

    async def unwritten(batches: Sequence[Batch]) -> list[Appended]:
        raise StoreError("connection")

    more: dict[str, Any] = {"headers": {"cache-control": "no-store"}}
    async with replicas(losses + 1) as made:
        whole = await ask(made[0].service, **more)
        for at, one in enumerate(made[:-1]):
            one.logs.append = unwritten  # type: ignore[method-assign]
            gathering(made[at + 1], 4 * at + 3)
        so_far = await ask(made[0].service, 8, **more)
        made[0].die()
        for one in made[1:-1]:
            so_far = await resume(one.service, so_far, 4)
            one.die()
        so_far = await resume(made[-1].service, so_far)
    assert (so_far.error, so_far.text, so_far.finish, so_far.is_done) == (None, whole.text, whole.finish, True)


def gathering(replica: Replica, count: int) -> None:
    """Let the model of a replica say as much at a time as it said in so many events."""
    inner = replica.service.models.replicas["slow"]

    class Gathering(ScriptedReplica):
        async def generate(self, model_request: ModelRequest) -> Any:
            events: list[dict[str, Any]] = []
            async for message in inner.generate(model_request):
                if not isinstance(message, Frames):
                    yield message
                    continue
                events += payloads(message.data)
                if len(events) == count or events[-1]["choices"][0].get("finish_reason"):
                    yield Frames(joined(events))
                    events.clear()

    replica.service.models.replicas = {"slow": Gathering(ScriptedModel(id="slow", kind="scripted"))}


def joined(events: list[dict[str, Any]]) -> bytes:
    """Return one event that says what these say."""
    choices = [event["choices"][0] for event in events]
    text = "".join(choice["delta"].get("content") or "" for choice in choices)
    return sse({**events[-1], "choices": [{**choices[-1], "delta": {"content": text}}]})


async def test_a_provider_is_not_paid_again_for_a_lost_stream() -> None:
    shared, scripted = MemoryStreams(), ScriptedModel(id="paid", kind="scripted", tokens=500, token_ms=10)
    paid = ProviderModel(id="paid", kind="provider", model="openai:gpt", base_url="http://127.0.0.1:9/v1")
    asked = Counter[str]()
    async with AsyncExitStack() as stack:
        made = list[Replica]()
        for name in ("one", "other"):
            listener, logs = Listener(), Logs(shared)
            await listener.open("127.0.0.1")
            stack.push_async_callback(listener.aclose)
            service = await stack.enter_async_context(
                running(paid, stream_store=logs, listener=listener, beside=made[0].service if made else None)
            )

            class Counting(ScriptedReplica):
                async def generate(self, model_request: ModelRequest, name: str = name) -> Any:
                    asked[name] += 1
                    async for message in super().generate(model_request):
                        yield message

            service.models.replicas = {"paid": Counting(scripted)}
            made.append(Replica(service, logs, listener))
        so_far = await ask(made[0].service, 5, model="paid")
        await asyncio.sleep(0.3)
        made[0].die()
        so_far = await resume(made[1].service, so_far)
    assert so_far.error and "cannot be continued" in so_far.error["message"] and not so_far.is_done
    assert asked == {"one": 1}


async def test_a_stream_that_a_fallback_answered_goes_on_with_that_model() -> None:
    shared = MemoryStreams()
    first = ScriptedModel(id="slow", kind="scripted", tokens=40, token_ms=10, fallback=("second",))
    second = ScriptedModel(id="second", kind="scripted", tokens=40, token_ms=10)
    async with AsyncExitStack() as stack:
        made, asked = list[Replica](), list[str]()
        for _ in range(2):
            listener, logs = Listener(), Logs(shared)
            await listener.open("127.0.0.1")
            stack.push_async_callback(listener.aclose)
            beside = made[0].service if made else None
            service = await stack.enter_async_context(
                running(first, second, stream_store=logs, listener=listener, beside=beside)
            )
            made.append(Replica(service, logs, listener))
        hold = made[0].service.models.hold

        async def fails(model: str, wait_s: float | None) -> Any:
            if model == "slow":
                raise ModelFailed
            return await hold(model, wait_s)

        made[0].service.models.hold = fails  # type: ignore[method-assign]
        generate = made[1].service.models.generate

        async def noted(model: str, *given: Any, **named: Any) -> None:
            asked.append(model)
            await generate(model, *given, **named)

        made[1].service.models.generate = noted  # type: ignore[method-assign]
        so_far = await ask(made[0].service, 5)
        await asyncio.sleep(0.3)
        made[0].die()
        so_far = await resume(made[1].service, so_far)
    assert so_far.is_done and asked == ["second"]


async def test_where_all_streams_are_resumable_no_store_is_kept_out_of_the_log() -> None:
    async with replicas(1, resumable="always") as (one,):
        path, body = PATH, {**HELLO, "stream": True, "max_tokens": 2}
        for headers, resumable in (({}, "1"), ({"cache-control": "no-store"}, None)):
            answer = await one.service.http.post(path, json=body, headers=headers)
            assert answer.headers.get("x-chatllm-resumable") == resumable
        assert len(one.logs.shared._logs) == 1


async def test_a_lost_turn_is_in_its_conversation_once(pair: list[Replica]) -> None:
    one, other = pair
    conversation = (await one.service.http.post("/v1/conversations", json={})).json()["id"]
    await ask(one.service, conversation=conversation)
    so_far = await ask(one.service, 5, conversation=conversation)
    await asyncio.sleep(0.3)
    one.die()
    so_far = await resume(other.service, so_far)
    assert so_far.is_done
    items = (await other.service.http.get(f"/v1/conversations/{conversation}/items?order=asc")).json()["data"]
    assert [(item["role"], item["status"]) for item in items[:2]] == [("user", "completed"), ("assistant", "completed")]
    assert [item["role"] for item in items] == ["user", "assistant"] * 2
    assert items[-1]["content"][0]["text"] == so_far.text


async def test_what_a_closing_replica_did_not_finish_goes_on_elsewhere() -> None:
    async with replicas(1) as (stays,):
        listener, logs = Listener(), Logs(stays.logs.shared)
        await listener.open("127.0.0.1")
        slow = ScriptedModel(id="slow", kind="scripted", tokens=500, token_ms=10)
        settings = StreamSettings(grace_s=30)
        async with running(
            slow, stream_store=logs, listener=listener, beside=stays.service, streams=settings
        ) as closing:
            conversation = (await closing.http.post("/v1/conversations", json={})).json()["id"]
            so_far = await ask(closing, 5, conversation=conversation, max_tokens=100)
        await listener.aclose()
        so_far = await resume(stays.service, so_far)
        assert so_far.is_done and so_far.finish == ["length"]
        items = (await stays.service.http.get(f"/v1/conversations/{conversation}/items?order=asc")).json()["data"]
        assert [(item["role"], item["status"]) for item in items] == [("user", "completed"), ("assistant", "completed")]
        assert items[-1]["content"][0]["text"] == so_far.text


async def test_openais_sdk_reads_numbered_events_as_any_others(pair: list[Replica]) -> None:
    service = pair[0].service
    async with openai.AsyncOpenAI(base_url=f"{service.url}/v1", api_key=service.secret, max_retries=0) as api:

        async def chunks(**more: Any) -> list[dict[str, Any]]:
            stream: Any = await api.chat.completions.create(**HELLO, stream=True, **more)
            return [chunk.choices[0].to_dict() async for chunk in stream]

        assert await chunks() == await chunks(extra_headers=RESUMABLE)
        completion: Any = await api.completions.create(
            model="slow", prompt="one two", max_tokens=3, stream=True, extra_headers=RESUMABLE
        )
        assert "".join([chunk.choices[0].text async for chunk in completion]) == "one two one "


async def test_the_example_survives_cut_connections(pair: list[Replica]) -> None:
    """A round of replicas behind a proxy that cuts each connection after a few events."""
    cuts = iter([3, 1, 0, 7, 2])
    async with cutting_proxy(pair[0].service.url, lambda: next(cuts, None)) as url:

        def told() -> list[str]:
            with openai.OpenAI(base_url=f"{url}/v1", api_key=pair[0].service.secret, max_retries=0) as client:
                read = resumable_chat.chunks(client, **HELLO)
                return [chunk.choices[0].delta.content or "" for chunk in read if chunk.choices]

        pieces = await asyncio.to_thread(told)
    assert "".join(pieces) == (await ask(pair[1].service)).text
    assert next(cuts, None) is None and pair[0].asked["begun"] == 1

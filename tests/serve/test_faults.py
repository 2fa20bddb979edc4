"""Parts are killed or frozen under the running service; what is promised then, holds."""

import asyncio
import contextlib
import itertools
import json
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.launched import Launched
from tests.launched import replica_pids as replicas

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PATH = "/v1/chat/completions"
HELLO = {"model": "quick", "messages": [{"role": "user", "content": "hello world"}]}


def store(service: Launched, data: str) -> list[int]:
    """Return the process ids of the embedded server that keeps its data in `data`: all of them work in that folder."""
    folder = str(Path(service.environment["CHATLLM_STATE"]) / data)
    found: list[int] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            found += [process.pid] * (process.cwd() == folder)
    return found


@contextmanager
def frozen(pids: list[int]) -> Iterator[None]:
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


async def test_a_killed_model_replica_costs_no_request(service: Launched) -> None:
    before = replicas(service, "model-quick")
    assert len(before) == 2
    os.kill(before[0], signal.SIGKILL)
    async with service.client() as http:
        statuses = [(await http.post(PATH, json=HELLO)).status_code for _ in range(40)]
        async with asyncio.timeout(60):
            while len(replicas(service, "model-quick")) < 2:
                await asyncio.sleep(0.5)
        assert (await http.post(PATH, json=HELLO)).status_code == 200
    assert statuses == [200] * 40


async def under_way(http: httpx.AsyncClient) -> tuple[list["Continued"], list[asyncio.Task[Any]]]:
    """Return nine answers, six of them streams that have said something, and the tasks that read them."""
    answers = [Continued(http, f"number {number} goes on", stream=number % 3 > 0) for number in range(9)]
    reading = [asyncio.create_task(answer.read()) for answer in answers]
    async with asyncio.timeout(30):
        while not all(answer.tokens > 5 for answer in answers if answer.stream):
            await asyncio.sleep(0.05)
    return answers, reading


async def assert_whole(http: httpx.AsyncClient, answer: "Continued") -> None:
    """Each token was said and counted once, and the turn is stored once, as it was said."""
    assert answer.said == f"{answer.text} " * (TOKENS // len(answer.text.split())) + answer.rest
    assert answer.usage["completion_tokens"] == TOKENS
    page = await http.get(f"/v1/conversations/{answer.conversation}/items?order=asc")
    items = page.json()["data"]
    assert [item["role"] for item in items] == ["user", "assistant"]
    assert items[1]["content"][0]["text"] == answer.said


async def test_streams_and_whole_answers_go_on_when_their_only_model_replica_is_killed(service: Launched) -> None:
    async with service.client() as http:
        http.timeout = httpx.Timeout(120)
        answers, reading = await under_way(http)
        [before] = replicas(service, "model-slow")
        os.kill(before, signal.SIGKILL)
        await asyncio.gather(*reading)
        assert before not in replicas(service, "model-slow")
        for answer in answers:
            await assert_whole(http, answer)


async def test_a_model_replica_that_is_killed_while_it_loads_says_so_and_another_one_loads(service: Launched) -> None:
    admin = service.chatllm("keys", "create", "reader", "--admin").strip()
    async with service.client() as http, asyncio.timeout(120):
        http.headers["authorization"] = f"Bearer {admin}"

        async def phase() -> str | None:
            models = (await http.get("/ready")).json()["models"]
            return next(model["phase"] for model in models if model["id"] == "loading")

        while await phase() != "starting":  # it has begun to load
            await asyncio.sleep(0.5)
        (before,) = replicas(service, "model-loading")
        os.kill(before, signal.SIGKILL)
        while "reason" not in (told := (await http.get("/v1/models/loading")).json()):
            await asyncio.sleep(0.5)
        assert told["status"] == "loading"
        assert told["reason"].startswith("The model's process was killed while it loaded")
        while not (after := replicas(service, "model-loading")) or after == [before]:
            await asyncio.sleep(0.5)
    assert "The model's process was killed while it loaded" in service.chatllm("status")


async def test_a_killed_ingress_replica_comes_back_and_the_other_answers(service: Launched) -> None:
    os.kill(replicas(service, "Ingress")[0], signal.SIGKILL)
    async with asyncio.timeout(60):
        while len(replicas(service, "Ingress")) < 2:
            await asyncio.sleep(0.5)
    answers: list[int] = []
    for _ in range(20):
        async with service.client() as http:
            answers.append((await http.post(PATH, json=HELLO)).status_code)
    assert answers[-10:] == [200] * 10


async def test_a_frozen_redis_is_a_miss_in_time(service: Launched) -> None:
    async with service.client() as http:
        with frozen(store(service, "valkey")):
            for seed in range(10):
                began = time.perf_counter()
                response = await http.post(PATH, json={**HELLO, "seed": seed})
                assert (response.status_code, response.headers["x-cache"]) == (200, "MISS")
                assert time.perf_counter() - began < 1.0
        async with asyncio.timeout(20):
            while (await http.post(PATH, json={**HELLO, "seed": 99})).headers["x-cache"] != "HIT":
                await asyncio.sleep(0.2)
        async with asyncio.timeout(5):  # what is logged is written within a second
            while "cache look-up failed kind=timeout breaker_is_open=" not in logged(service, "CacheLookup"):
                await asyncio.sleep(0.2)


def logged(service: Launched, deployment: str) -> str:
    """Return what the replicas of a deployment have written to their logs."""
    logs = (Path(service.environment["CHATLLM_STATE"]) / "logs/ray/serve").glob(f"*{deployment}*.log*")
    told: list[str] = []
    for path in logs:
        with contextlib.suppress(FileNotFoundError):  # it was found, and has been rotated since
            told.append(path.read_text())
    return "".join(told)


async def test_a_cache_replica_that_is_frozen_then_killed_fails_nothing_and_the_next_one_is_connected(
    service: Launched,
) -> None:
    (before,) = replicas(service, "CacheLookup")
    numbers = itertools.count(5_000)
    async with service.client() as http:

        async def ask() -> httpx.Response:
            answer = await http.post(PATH, json={**HELLO, "seed": next(numbers)})
            assert answer.status_code == 200
            return answer

        async with asyncio.timeout(30):
            while connected(service) < 2:  # both replicas of the ingress
                await ask()
        with frozen([before]):
            reasons = {(await ask()).headers["x-cache-reason"] for _ in range(20)}
        assert "the cache did not answer in time" in reasons, reasons
        os.kill(before, signal.SIGKILL)
        await asyncio.sleep(1.5)  # what is logged is written within a second
        known = connected(service)
        async with asyncio.timeout(60):
            while connected(service) < known + 2:
                await ask()
                await asyncio.sleep(0.05)
        asked = {**HELLO, "seed": next(numbers)}
        assert (await http.post(PATH, json=asked)).headers["x-cache"] == "MISS"
        async with asyncio.timeout(10):
            while (await http.post(PATH, json=asked)).headers["x-cache"] != "HIT":
                await asyncio.sleep(0.1)


def connected(service: Launched) -> int:
    """Return how often a replica of the ingress has connected to one of the cache, as their logs tell."""
    return logged(service, "Ingress").count("a replica of the cache is connected")


async def test_a_frozen_postgres_stops_only_conversations(service: Launched) -> None:
    async with service.client() as http:
        conversation = (await http.post("/v1/conversations", json={})).json()["id"]
        assert (await http.post(PATH, json=HELLO)).status_code == 200
        with frozen(store(service, "postgres/data")):
            for _ in range(5):
                assert (await http.post(PATH, json=HELLO)).status_code == 200
            refused = await http.post(PATH, json={**HELLO, "conversation": conversation})
            assert refused.status_code == 503
            assert refused.json()["error"]["code"] == "history_unavailable"
            assert int(refused.headers["retry-after"]) >= 1
        async with asyncio.timeout(20):
            while (await http.post(PATH, json={**HELLO, "conversation": conversation})).status_code != 200:
                await asyncio.sleep(0.2)


async def test_an_answer_that_outlasts_postgres_is_written_afterwards(service: Launched) -> None:
    async with service.client() as http:
        conversation = (await http.post("/v1/conversations", json={})).json()["id"]
        request: dict[str, Any] = {
            "model": "slow",
            "messages": [{"role": "user", "content": "remember this"}],
            "max_tokens": 50,
            "conversation": conversation,
        }
        answering = asyncio.create_task(http.post(PATH, json=request))
        await asyncio.sleep(0.3)
        with frozen(store(service, "postgres/data")):
            answer = await answering
            assert answer.status_code == 200
            await asyncio.sleep(1)
        async with asyncio.timeout(30):
            while True:
                page = await http.get(f"/v1/conversations/{conversation}/items?order=asc")
                items = page.json().get("data", [])
                if len(items) >= 2:
                    break
                await asyncio.sleep(0.2)
        assert [item["role"] for item in items] == ["user", "assistant"]
        assert items[1]["content"][0]["text"] == answer.json()["choices"][0]["message"]["content"]


async def ingress_urls(service: Launched) -> dict[str, int]:
    """Return the addresses of the two ingress replicas themselves, without the proxy, and their process ids."""
    found: dict[str, int] = {}
    async with asyncio.timeout(60), httpx.AsyncClient(timeout=2) as http:
        while len(found) < 2:
            found.clear()
            for pid in replicas(service, "Ingress"):
                with contextlib.suppress(psutil.Error):
                    for connection in psutil.Process(pid).net_connections("tcp"):
                        url = f"http://127.0.0.1:{connection.laddr.port}"
                        if connection.status == psutil.CONN_LISTEN and await is_healthy(http, url):
                            found[url] = pid
            await asyncio.sleep(0.2)
    return found


async def is_healthy(http: httpx.AsyncClient, url: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return (await http.get(f"{url}/health")).status_code == 200
    return False


TOKENS = 250


@dataclass
class Stream:
    """A streamed answer that is being read; it leaves when `is_wanted` is no longer set."""

    http: httpx.AsyncClient
    text: str
    headers: dict[str, str] = field(default_factory=dict[str, str])
    status: int = 0
    cache: str = ""
    data: bytes = b""
    is_wanted: bool = True

    async def read(self) -> None:
        request = {**HELLO, "model": "slow", "temperature": 0, "stream": True, "max_tokens": TOKENS}
        request["messages"] = [{"role": "user", "content": self.text}]
        with contextlib.suppress(httpx.HTTPError):
            async with self.http.stream("POST", PATH, json=request, headers=self.headers) as response:
                self.status = response.status_code
                if self.status != 200:
                    assert self.status == 504 and self.headers
                    return
                self.cache = response.headers["x-cache"]
                async for piece in response.aiter_raw():
                    self.data += piece
                    if not self.is_wanted:
                        return

    @property
    def is_whole(self) -> bool:
        return self.data.endswith(b"data: [DONE]\n\n")

    @property
    def said(self) -> str:
        whole = self.data[: self.data.rfind(b"\n\n")].removesuffix(b"data: [DONE]")
        events = [json.loads(event.removeprefix(b"data: ")) for event in whole.split(b"\n\n") if event]
        return "".join(event["choices"][0]["delta"].get("content") or "" for event in events)


@dataclass
class Continued:
    """An answer in a conversation of its own."""

    http: httpx.AsyncClient
    text: str
    stream: bool
    conversation: str = ""
    said: str = ""
    tokens: int = 0
    usage: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def rest(self) -> str:
        """What is said of the text the last time, which is cut off."""
        words = self.text.split()
        return "".join(f"{word} " for word in words[: TOKENS % len(words)])

    async def read(self) -> None:
        self.conversation = (await self.http.post("/v1/conversations", json={})).json()["id"]
        request: dict[str, Any] = {**HELLO, "model": "slow", "max_tokens": TOKENS, "conversation": self.conversation}
        request["messages"] = [{"role": "user", "content": self.text}]
        if not self.stream:
            answer = (await self.http.post(PATH, json=request)).json()
            self.said, self.usage = answer["choices"][0]["message"]["content"], answer["usage"]
            return
        request |= {"stream": True, "stream_options": {"include_usage": True}}
        async with self.http.stream("POST", PATH, json=request) as response:
            async for line in response.aiter_lines():
                if line.startswith("data: {"):
                    self._take(json.loads(line.removeprefix("data: ")))

    def _take(self, event: dict[str, Any]) -> None:
        assert "error" not in event, event
        self.usage = event.get("usage") or self.usage
        for choice in event["choices"]:
            said = choice["delta"].get("content") or ""
            self.tokens += bool(said)
            self.said += said


@contextlib.asynccontextmanager
async def a_hundred(service: Launched, urls: list[str]) -> AsyncGenerator[list[Stream]]:
    """Begin a hundred identical streams, each on a connection of its own, to both replicas in turn.

    The first is the one that generates, on the first replica; all others have
    begun to read along. The look-up of a busy machine can miss its deadline, and
    then the second replica generates for itself: then all begin anew.
    """
    headers = {"authorization": f"Bearer {service.key}"}
    async with contextlib.AsyncExitStack() as stack:
        https = [
            await stack.enter_async_context(httpx.AsyncClient(base_url=url, headers=headers, timeout=60))
            for url in urls * 50
        ]
        for http in https[:2]:  # a replica's first look-up is slower than others
            await http.post(PATH, json={**HELLO, "temperature": 0})
        for attempt in range(5):
            streams = [Stream(http, f"attempt {attempt} of {urls}") for http in https]
            tasks = [asyncio.create_task(streams[0].read())]
            for begun, following in ((streams[:1], streams[1:2]), (streams[:2], streams[2:]), (streams, [])):
                while not all(stream.data for stream in begun):
                    await asyncio.sleep(0.01)
                tasks += [asyncio.create_task(stream.read()) for stream in following]
            if Counter(stream.cache for stream in streams) == {"MISS": 1, "JOIN": 99}:
                yield streams
                await asyncio.gather(*tasks)
                return
            await asyncio.gather(*tasks)
    raise AssertionError([stream.cache for stream in streams])


async def running(service: Launched) -> int:
    async with service.client() as http:
        return (await http.get("/v1/models/slow")).json()["running"]


async def test_a_hundred_streams_over_two_ingress_replicas_are_one_generation(service: Launched) -> None:
    """The client that began it leaves in the middle: nobody else notices."""
    async with a_hundred(service, list(await ingress_urls(service))) as streams:
        streams[0].is_wanted = False
        assert await running(service) == 1
    assert [stream.is_whole for stream in streams] == [False] + [True] * 99
    [said] = {stream.said for stream in streams[1:]}
    assert len(said.split()) == TOKENS


async def test_the_ingress_replica_that_generates_is_killed_and_the_other_goes_on(service: Launched) -> None:
    pids = await ingress_urls(service)
    async with a_hundred(service, list(pids)) as streams:
        os.kill(pids[str(streams[0].http.base_url).rstrip("/")], signal.SIGKILL)
    cut, others = streams[0::2], streams[1::2]
    assert not any(stream.is_whole for stream in cut)  # their own connections ended there
    assert all(stream.is_whole for stream in others)
    [said] = {stream.said for stream in others}
    assert len(said.split()) == TOKENS
    assert all(said.startswith(stream.said) for stream in cut)
    async with asyncio.timeout(10):
        while await running(service):
            await asyncio.sleep(0.1)
    async with service.client() as http:  # whole, as the one that took over had it
        again = Stream(http, streams[0].text, {"cache-control": "only-if-cached"})
        async with asyncio.timeout(10):
            while again.status != 200:  # the first look-up of the replica that came back may be late
                await again.read()
    assert (again.cache, again.said) == ("HIT", said)
    await ingress_urls(service)

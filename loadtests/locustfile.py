"""Users of a running service.

    export CHATLLM_API_KEY=...        # a key of the service (kept in .chatllm/api.key by `make serve`)

    # with locust's page on http://127.0.0.1:8089
    locust -f loadtests/locustfile.py --host http://127.0.0.1:8000

    # without it: 20 users for a minute, one kind of user only
    locust -f loadtests/locustfile.py --host http://127.0.0.1:8000 --headless -u 20 -r 5 -t 1m StreamingUser

    # against GPUs: a rising load from several processes, on a machine near the cluster and not part of it
    LOAD_SHAPE=ramp LOAD_USERS=2000 LOAD_DURATION=900 LOAD_MODEL=my-model LOAD_MAX_TOKENS=256 \\
        locust -f loadtests/locustfile.py --host https://chat.example.com --headless --processes 8 --csv ramp

Before a run against GPUs: raise `ulimit -n` here and on the ingress nodes; give
the key no limits (`--concurrent 0`; conversations also need a high
`key_limits.other_requests_per_minute`), or know them; let the model come up (`/ready`) and send one
minute of load that does not count, since engines compile and caches fill. Watch
`ray_chatllm_*` and `ray_vllm_num_requests_waiting` beside locust's own figures: the
load is too small while no request waits, and locust is the bottleneck when its
processes use a whole core each.

    StreamingUser      new prompts, streamed: what the engine and the way to it can do
    ConversingUser     several turns in a stored conversation: history and growing prompts
    RepeatingUser      one of ten prompts, greedy, streamed: the cache

Beside locust's own lines there are, per model: TTFT (ms to the first content),
ITL (ms between pieces of content) and TOKENS/S (of one stream; the column says
ms, the value is tokens per second). A 429 or a 503 with Retry-After is the
service's own word about its load: it is counted under its own name (`refused`),
not as a failure of the request, and the user waits as told.

LOAD_MODEL        model to ask for (the service's default)
LOAD_MAX_TOKENS   tokens of an answer at most (128)
LOAD_SHAPE        steady, ramp or spike, see shapes.py
"""

import json
import os
import random
import time
import uuid
from collections.abc import Iterator
from typing import Any

import gevent
from locust import FastHttpUser, between, task
from locust.contrib.fasthttp import ResponseContextManager

from loadtests.shapes import SHAPES

CHAT = "/v1/chat/completions"
KEY = os.environ.get("CHATLLM_API_KEY", "")
MODEL = os.environ.get("LOAD_MODEL", "")
MAX_TOKENS = int(os.environ.get("LOAD_MAX_TOKENS", "128"))
TOPICS = ("a cache", "a queue", "a stream", "a replica", "a key", "a token", "a model", "a page", "a log", "a test")

if shape := os.environ.get("LOAD_SHAPE"):

    class Shape(SHAPES[shape]):  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
        """The shape that was asked for."""

        abstract = False


class ChatUser(FastHttpUser):
    """Someone with a key who reads streams to their end."""

    abstract = True
    wait_time = between(0.1, 1.0)
    network_timeout = 600.0

    def ask(self, name: str, messages: list[dict[str, str]], **options: Any) -> bool:
        """Stream one answer and report it; return whether it was whole."""
        model = {"model": MODEL} if MODEL else {}
        usage = {"stream": True, "stream_options": {"include_usage": True}}
        body = {"messages": messages, "max_tokens": MAX_TOKENS, **usage, **model, **options}
        with self.client.request(
            "POST", CHAT, json=body, name=name, headers=self.headers(), stream=True, catch_response=True
        ) as response:
            if response.status_code in (429, 503):
                self.refused(response, name)
                return False
            if response.status_code != 200:
                response.failure(f"status {response.status_code}")
                return False
            return self.read(response, name)

    def headers(self) -> dict[str, str]:
        """Return the headers of every request."""
        return {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}

    def read(self, response: ResponseContextManager, name: str) -> bool:
        """Take the stream's times; an error event or a missing end is a failure."""
        began = last = time.perf_counter()
        sent = response.request_meta["start_time"]
        waited_s = time.time() - sent
        first_s: float | None = None
        tokens = 0
        for event in _events(response):
            if event == b"[DONE]":
                self.report(name, waited_s + (first_s or 0.0), tokens, last - began - (first_s or 0.0))
                response.request_meta["response_time"] = (time.time() - sent) * 1e3
                response.success()
                return True
            chunk = json.loads(event)
            if "error" in chunk:
                response.failure(f"error event: {chunk['error'].get('code')}")
                return False
            tokens = (chunk.get("usage") or {}).get("completion_tokens") or tokens
            now = time.perf_counter()
            if not _says_something(chunk):
                continue
            if first_s is None:
                first_s = now - began
            else:
                self.metric("ITL", name, (now - last) * 1e3)
            last = now
        response.failure("the stream was cut off")
        return False

    def report(self, name: str, ttft_s: float, tokens: int, streamed_s: float) -> None:
        """Report a whole stream."""
        self.metric("TTFT", name, ttft_s * 1e3)
        if tokens > 1 and streamed_s > 0:
            self.metric("TOKENS/S", name, (tokens - 1) / streamed_s)

    def refused(self, response: ResponseContextManager, name: str) -> None:
        """Count a refusal under its own name and wait as long as the service says."""
        self.metric("refused", f"{name} {response.status_code}", 0.0)
        response.success()
        headers: Any = response.headers or {}
        gevent.sleep(min(30.0, float(headers.get("retry-after") or 1.0)))

    def metric(self, kind: str, name: str, value: float) -> None:
        """Report a figure of our own as a line in locust's table."""
        self.environment.events.request.fire(
            request_type=kind, name=name, response_time=value, response_length=0, exception=None, context={}
        )


class StreamingUser(ChatUser):
    """Every prompt is new."""

    weight = 3

    @task
    def stream(self) -> None:
        topic = random.choice(TOPICS)
        self.ask("new prompt", [{"role": "user", "content": f"({uuid.uuid4()}) What is {topic} good for?"}])


class ConversingUser(ChatUser):
    """Talks for a few turns in one stored conversation, then begins another."""

    weight = 2

    def on_start(self) -> None:
        self.conversation = ""
        self.turns = 0

    @task
    def say(self) -> None:
        if self.turns == 0:
            self.conversation = self.begin()
            self.turns = random.randint(3, 8)
        if self.conversation:
            topic = random.choice(TOPICS)
            message = {"role": "user", "content": f"And what about {topic}?"}
            self.ask("turn of a conversation", [message], conversation=self.conversation)
        self.turns -= 1

    def begin(self) -> str:
        """Return the id of a new conversation, or an empty string."""
        response = self.client.request("POST", "/v1/conversations", json={}, headers=self.headers())
        return str(response.json().get("id", "")) if response.status_code in (200, 201) else ""


class RepeatingUser(ChatUser):
    """Asks what others have asked."""

    weight = 1

    @task
    def repeat(self) -> None:
        question = f"What is {random.choice(TOPICS)} good for?"
        self.ask("repeated prompt", [{"role": "user", "content": question}], temperature=0)


def _events(response: ResponseContextManager) -> Iterator[bytes]:
    """Yield the data of each event as it comes; locust's own iter_content would wait for a full kilobyte."""
    stream: Any = response.stream
    while event := stream.readline(b"\n\n"):
        yield event.removeprefix(b"data:").strip()


def _says_something(chunk: dict[str, Any]) -> bool:
    delta = chunk["choices"][0]["delta"] if chunk.get("choices") else {}
    return any(delta.get(name) for name in ("content", "reasoning", "tool_calls"))

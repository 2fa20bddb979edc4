"""A load that comes at its own pace, whatever becomes of it, and what every one of its answers must be.

The scripted model repeats the words of the message, so that the text shows each token that is missing or doubled.
"""

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.launched import Launched

CHAT = "/v1/chat/completions"
ENDINGS = ("completed", "failed", "cancelled", "incomplete")


def scripted(text: str, tokens: int) -> str:
    """Return what the scripted model says to `text`."""
    return "".join(f"{word} " for word in itertools.islice(itertools.cycle(text.split()), tokens))


@dataclass
class OpenLoop:
    """Requests of five kinds in turn; whatever is not the whole answer, once, is told in `failed`."""

    service: Launched
    model: str
    tokens: int
    done: Counter[str] = field(default_factory=Counter[str])
    failed: list[str] = field(default_factory=list[str])
    refused: list[httpx.Response] = field(default_factory=list[httpx.Response])
    may_refuse: bool = False
    """Whether a 503 is an answer as well: the service stops."""
    accepted: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """The responses in the background, by id and text."""
    kept: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """The conversations whose turn has ended, by id and text."""
    begun: int = 0
    longest_pause_s: float = 0.0

    def kinds(self) -> tuple[Callable[[httpx.AsyncClient, str], Awaitable[None]], ...]:
        return self.stream, self.whole, self.joined, self.conversation, self.background

    async def one(self, number: int) -> None:
        """Ask and judge the answer, over a connection of its own."""
        kinds = self.kinds()
        ask = kinds[number % len(kinds)]
        try:
            async with self.service.client() as http:
                http.timeout = httpx.Timeout(120)
                await ask(http, f"number {number} goes on and on")
        except Refused as refused:
            self.refused.append(refused.response)
            if not self.may_refuse:
                self.failed.append(f"{ask.__name__} {number}: {refused.response.status_code} {refused.response.text}")
        except (httpx.HTTPError, AssertionError, LookupError, ValueError, TimeoutError) as error:
            self.failed.append(f"{ask.__name__} {number}: {error!r}")
        else:
            self.done[ask.__name__] += 1

    async def stream(self, http: httpx.AsyncClient, text: str, **more: object) -> None:
        """Read a stream: as many events as tokens, its end, and the text."""
        said, events, ended, usage = "", 0, False, {}
        body = {**self.body(text), "stream": True, "stream_options": {"include_usage": True}, **more}
        clock = asyncio.get_running_loop().time
        async with http.stream("POST", CHAT, json=body) as response:
            await required(response)
            last = clock()
            async for line in response.aiter_lines():
                self.longest_pause_s, last = max(self.longest_pause_s, clock() - last), clock()
                ended = ended or line == "data: [DONE]"
                if line.startswith("data: {"):
                    event = json.loads(line.removeprefix("data: "))
                    assert "error" not in event, event
                    usage = event.get("usage") or usage
                    contents = [choice["delta"].get("content") for choice in event["choices"]]
                    events += sum(map(bool, contents))
                    said += "".join(filter(None, contents))
        assert ended, f"truncated after {events} events"
        assert (said, events, usage["completion_tokens"]) == (scripted(text, self.tokens), self.tokens, self.tokens)

    async def whole(self, http: httpx.AsyncClient, text: str) -> None:
        answer = (await required(await http.post(CHAT, json=self.body(text)))).json()
        assert answer["choices"][0]["message"]["content"] == scripted(text, self.tokens)
        assert answer["usage"]["completion_tokens"] == self.tokens

    async def joined(self, http: httpx.AsyncClient, text: str) -> None:
        """Ask the same three times at once, over connections of their own: one generation, perhaps on two replicas."""

        async def one() -> None:
            async with self.service.client() as http:
                http.timeout = httpx.Timeout(120)
                await self.stream(http, text, temperature=0)

        for ending in await asyncio.gather(one(), one(), one(), return_exceptions=True):
            if isinstance(ending, BaseException):
                raise ending

    async def conversation(self, http: httpx.AsyncClient, text: str) -> None:
        """Stream within a conversation, which must have the turn once afterwards."""
        created = await required(await http.post("/v1/conversations", json={}))
        await self.stream(http, text, conversation=created.json()["id"])
        self.kept.append((created.json()["id"], text))
        if self.may_refuse:
            return  # nobody can be asked any more
        page = await required(await http.get(f"/v1/conversations/{created.json()['id']}/items?order=asc"))
        told = [(item["role"], item["content"][0]["text"]) for item in page.json()["data"]]
        assert told == [("user", text), ("assistant", scripted(text, self.tokens))]

    async def background(self, http: httpx.AsyncClient, text: str) -> None:
        body = {"model": self.model, "input": text, "background": True, "max_output_tokens": self.tokens}
        response = (await required(await http.post("/v1/responses", json=body))).json()
        self.accepted.append((response["id"], text))
        if self.may_refuse:
            return
        while response["status"] not in ENDINGS:
            await asyncio.sleep(0.5)
            response = (await required(await http.get(f"/v1/responses/{response['id']}"))).json()
        self.judge(response, text)

    def judge(self, response: dict[str, Any], text: str) -> None:
        """Require that a response holds the whole answer."""
        assert response["output"][0]["content"][0]["text"] == scripted(text, self.tokens), response

    def body(self, text: str) -> dict[str, Any]:
        return {
            "model": self.model,
            "messages": [{"role": "user", "content": text}],
            "max_tokens": self.tokens,
            "temperature": 1,
            "seed": 1,
        }


class Refused(Exception):
    """A request was answered with an error at once."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        super().__init__(response.status_code)


async def required(response: httpx.Response) -> httpx.Response:
    if response.status_code != 200:
        await response.aread()
        raise Refused(response)
    return response


@asynccontextmanager
async def open_loop(service: Launched, model: str, tokens: int, every_s: float) -> AsyncGenerator[OpenLoop]:
    """Begin a request `every_s` while the block runs, and wait for the answers to all of them behind it."""
    loop, tasks = OpenLoop(service, model, tokens), list[asyncio.Task[None]]()

    async def begin() -> None:
        for number in itertools.count():
            loop.begun += 1
            tasks.append(asyncio.create_task(loop.one(number)))
            await asyncio.sleep(every_s)

    beginning = asyncio.create_task(begin())
    try:
        yield loop
    finally:
        beginning.cancel()
        await asyncio.gather(*tasks)

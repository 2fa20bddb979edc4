"""Those who ask while faults happen, and what they were told."""

import asyncio
import json
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx

PATH = "/v1/chat/completions"
DEADLINE_S = 120.0
"""No request may be open for longer, whatever happens."""
PAUSE_S = 0.5


class Refused(Exception):
    """An error in the service's own shape."""


@dataclass
class Tally:
    """What all clients have seen."""

    done: Counter[str] = field(default_factory=Counter[str])
    refused: Counter[str] = field(default_factory=Counter[str])
    violations: list[str] = field(default_factory=list[str])
    longest_s: float = 0.0
    tokens: Counter[str] = field(default_factory=Counter[str])
    """By tenant, the tokens of whole answers that were generated for it."""
    partial: Counter[str] = field(default_factory=Counter[str])
    """By tenant, how many answers may have been paid for without having arrived whole."""

    def violated(self, text: str) -> None:
        self.violations.append(text)


@dataclass
class Tenant:
    """A key, its word, which no other tenant may ever see, and what was promised to it."""

    name: str
    key: str
    conversations: dict[str, list[tuple[str, str | None]]] = field(
        default_factory=dict[str, list[tuple[str, str | None]]]
    )
    """By conversation, each turn's question and answer; None where the answer did not arrive whole."""
    responses: list[str] = field(default_factory=list[str])


class Client:
    """Asks one thing after the other as one tenant, until it is cancelled."""

    def __init__(self, url: str, tenant: Tenant, others: list[str], tally: Tally, seed: int) -> None:
        self._url = url
        self._tenant = tenant
        self._others = others
        self._tally = tally
        self._random = random.Random(seed)

    async def ask_for_ever(self) -> None:
        """Ask; each request over a connection of its own, as clients behind a balancer do."""
        kinds = (self._turn, self._turn, self._shared, self._background, self._left)
        while True:
            ask = self._random.choice(kinds)
            began = asyncio.get_running_loop().time()
            headers = {"authorization": f"Bearer {self._tenant.key}"}
            try:
                async with (
                    asyncio.timeout(DEADLINE_S),
                    httpx.AsyncClient(base_url=self._url, headers=headers, timeout=DEADLINE_S) as http,
                ):
                    await ask(http)
            except Refused as error:
                self._tally.refused[str(error)] += 1
            except httpx.TransportError as error:
                self._tally.refused[type(error).__name__] += 1
            except TimeoutError:
                self._tally.violated(f"{ask.__name__}: no end within {DEADLINE_S:.0f} s")
            else:
                self._tally.done[ask.__name__.strip("_")] += 1
            took_s = asyncio.get_running_loop().time() - began
            self._tally.longest_s = max(self._tally.longest_s, took_s)
            await asyncio.sleep(self._random.uniform(0, PAUSE_S))

    async def _turn(self, http: httpx.AsyncClient) -> None:
        """Add a turn to one of the tenant's conversations."""
        own = self._tenant.conversations
        if not own or self._random.random() < 0.2:
            own[await self._created(http)] = []
        conversation = self._random.choice(list(own))
        turns = own.pop(conversation)  # one turn at a time
        try:
            question = f"{self._tenant.name} {self._random.getrandbits(40)}"
            turns.append((question, None))
            turns[-1] = question, await self._answer(http, question, conversation=conversation)
        finally:
            own[conversation] = turns

    async def _shared(self, http: httpx.AsyncClient) -> None:
        """Ask what others of the tenant ask at the same time: joined or cached."""
        await self._answer(http, f"{self._tenant.name} asks this often {self._random.randrange(3)}", temperature=0)

    async def _left(self, http: httpx.AsyncClient) -> None:
        """Leave a stream in the middle."""
        body = self._body(f"{self._tenant.name} leaves {self._random.getrandbits(40)}", stream=True)
        self._tally.partial[self._tenant.name] += 1
        async with http.stream("POST", PATH, json=body) as response:
            await self._checked(response)
            async for _ in response.aiter_lines():
                if self._random.random() < 0.1:
                    return

    async def _background(self, http: httpx.AsyncClient) -> None:
        """Have a response made in the background; whether it ends is seen in the end."""
        text = f"{self._tenant.name} waits {self._random.getrandbits(40)}"
        self._tally.partial[self._tenant.name] += 1
        response = await http.post("/v1/responses", json={"model": "steady", "input": text, "background": True})
        self._tenant.responses.append((await self._checked(response))["id"])

    async def _created(self, http: httpx.AsyncClient) -> str:
        return (await self._checked(await http.post("/v1/conversations", json={})))["id"]

    def _body(self, question: str, **more: Any) -> dict[str, Any]:
        return {"model": "steady", "messages": [{"role": "user", "content": question}], **more}

    async def _answer(self, http: httpx.AsyncClient, question: str, **more: Any) -> str:
        """Return a whole answer, streamed or not; what it must not hold is a violation."""
        name = self._tenant.name
        self._tally.partial[name] += 1
        streams = self._random.random() < 0.7
        body = self._body(question, stream=streams, **more)
        if streams:
            body["stream_options"] = {"include_usage": True}
            async with http.stream("POST", PATH, json=body) as response:
                await self._checked(response)
                text, tokens = await self._read(response)
        else:
            response = await http.post(PATH, json=body)
            answer = await self._checked(response)
            text, tokens = answer["choices"][0]["message"]["content"], answer["usage"]["completion_tokens"]
        self._tally.partial[name] -= 1
        if response.headers.get("x-cache") == "MISS":
            self._tally.tokens[name] += tokens
        else:
            self._tally.partial[name] += 1  # of a joined answer one pays, and may be another
        words = question.split()
        if text.split() != [words[at % len(words)] for at in range(len(text.split()))]:
            self._tally.violated(f"an answer to {question!r} is not one to it")
        if any(other in text for other in self._others):
            self._tally.violated(f"{name} was told what another tenant had asked")
        return text

    async def _read(self, response: httpx.Response) -> tuple[str, int]:
        text, tokens, is_whole = "", 0, False
        async for line in response.aiter_lines():
            is_whole = is_whole or line == "data: [DONE]"
            if not line.startswith("data: {"):
                continue
            event = json.loads(line.removeprefix("data: "))
            if "error" in event:
                raise Refused(event["error"]["code"])
            tokens = (event.get("usage") or {}).get("completion_tokens") or tokens
            text += "".join(choice["delta"].get("content") or "" for choice in event["choices"])
        if not is_whole:
            self._tally.refused["cut off"] += 1
            raise Refused("cut off")
        return text, tokens

    async def _checked(self, response: httpx.Response) -> Any:
        """Return what a success holds; raises Refused for an error of OpenAI's shape, others are violations."""
        if response.status_code == httpx.codes.OK:
            is_stream = response.headers.get("content-type", "").startswith("text/event-stream")
            return None if is_stream else json.loads(await response.aread())
        text = (await response.aread()).decode(errors="replace")
        try:
            code = json.loads(text)["error"]["code"]
        except (ValueError, LookupError, TypeError):
            self._tally.violated(f"status {response.status_code} without an error of OpenAI's shape: {text[:80]!r}")
            code = "?"
        raise Refused(f"{response.status_code} {code}")

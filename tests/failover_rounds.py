"""How answers outlive their model replicas: `python -m tests.measured_failover [--rounds 20]`.

50 streams at once over two scripted replicas, each in a conversation of its own. In each round one replica is killed at
a random token, or both in turn. Every answer must be the one of an undisturbed run, each token once, and must
stand once in Postgres. The longest time that a client waited for its next token is told.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import time
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.launched import Launched, launched, replica_pids, service_file

STREAMS, TOKENS = 50, 120
PATH = "/v1/chat/completions"
HOWS = ("one is killed", "both are killed in turn")


@dataclass
class Answer:
    """A stream as its client sees it."""

    text: str
    said: str = ""
    events: int = 0
    conversation: str = ""
    usage: dict[str, Any] = field(default_factory=dict[str, Any])
    longest_pause_s: float = 0.0
    error: str = ""

    async def read(self, http: httpx.AsyncClient, model: str, seed: int | None) -> None:
        """Read it to its end."""
        self.conversation = (await http.post("/v1/conversations", json={})).json()["id"]
        body: dict[str, Any] = {
            "model": model,
            "messages": [{"role": "user", "content": self.text}],
            "max_tokens": TOKENS,
            "stream": True,
            "stream_options": {"include_usage": True},
            "conversation": self.conversation,
            **({"temperature": 0} if seed is None else {"temperature": 1, "seed": seed}),
        }
        last = time.perf_counter()
        async with http.stream("POST", PATH, json=body, headers={"cache-control": "no-store"}) as response:
            async for line in response.aiter_lines():
                if line.startswith("data: {"):
                    now = time.perf_counter()
                    self.longest_pause_s, last = max(self.longest_pause_s, now - last), now
                    self._take(json.loads(line.removeprefix("data: ")))

    def _take(self, event: dict[str, Any]) -> None:
        if "error" in event:
            self.error = event["error"]["message"]
            return
        self.usage = event.get("usage") or self.usage
        for choice in event["choices"]:
            self.said += choice["delta"].get("content") or ""
            self.events += bool(choice["delta"].get("content"))


@dataclass
class Round:
    """One round: what is done to the replicas, and when."""

    service: Launched
    http: httpx.AsyncClient
    model: str
    rng: random.Random

    async def run(self, how: str, expected: dict[int, str]) -> float:
        """Return the longest pause; raises AssertionError where an answer differs."""
        answers = [Answer(f"Tell me about number {number} of the things") for number in range(STREAMS)]
        seeds = [None if number % 2 else number for number in range(STREAMS)]
        reading = [asyncio.create_task(a.read(self.http, self.model, s)) for a, s in zip(answers, seeds, strict=True)]
        if how:
            await self._disturb(how, answers)
        await asyncio.gather(*reading)
        for number, answer in enumerate(answers):
            assert not answer.error, (how, number, answer.error)
            assert answer.said == expected.setdefault(number, answer.said), (how, number)
            assert answer.usage["completion_tokens"] <= TOKENS
            items = (await self.http.get(f"/v1/conversations/{answer.conversation}/items?order=asc")).json()["data"]
            assert [item["role"] for item in items] == ["user", "assistant"], (how, number, items)
            assert items[1]["content"][0]["text"] == answer.said, (how, number)
        return max(answer.longest_pause_s for answer in answers)

    async def _disturb(self, how: str, answers: list[Answer]) -> None:
        await self._reached(answers, self.rng.randrange(2, TOKENS // 4))
        first, second = self.rng.sample(self._pids(), 2)
        os.kill(first, signal.SIGKILL)
        if how == "both are killed in turn":
            # Each stream has a token of the second one: two replicas lost without one end a request.
            await self._reached(answers, TOKENS // 2)
            os.kill(second, signal.SIGKILL)

    async def _reached(self, answers: list[Answer], events: int) -> None:
        async with asyncio.timeout(120):
            while not all(answer.events >= events or answer.usage for answer in answers):
                await asyncio.sleep(0.01)

    def _pids(self) -> list[int]:
        return replica_pids(self.service, f"model-{self.model}")

    async def settled(self) -> None:
        """Wait until two replicas run again."""
        async with asyncio.timeout(240):
            while len(self._pids()) < 2 or not await self._is_ready():
                await asyncio.sleep(0.5)

    async def _is_ready(self) -> bool:
        models = (await self.http.get("/ready")).json()["models"]
        return next(model["replicas"] for model in models if model["id"] == self.model) == 2


def scripted() -> dict[str, Any]:
    """Return a service of two scripted replicas."""
    models = [{"id": "steady", "kind": "scripted", "tokens": TOKENS, "token_ms": 20}]
    return service_file(models, {"Ingress": 1, "model-steady": 2})


async def measure(service: Launched, model: str, rounds: int, seed: int) -> None:
    """Print the longest pause of each kind of round."""
    limits = httpx.Limits(max_connections=2 * STREAMS)
    pauses: dict[str, float] = {}
    async with service.client() as http:
        http = httpx.AsyncClient(base_url=http.base_url, headers=http.headers, timeout=300, limits=limits)
        async with http:
            one, expected = Round(service, http, model, random.Random(seed)), dict[int, str]()
            await one.settled()
            print(f"undisturbed: longest pause {await one.run('', expected):.2f} s", flush=True)
            for number in range(rounds):
                how = HOWS[number % len(HOWS)]
                pause = await one.run(how, expected)
                pauses[how] = max(pauses.get(how, 0.0), pause)
                print(f"round {number + 1}: {how}: {STREAMS} equal answers, longest pause {pause:.2f} s", flush=True)
                await one.settled()
    for how, pause in pauses.items():
        print(f"{how}: longest pause {pause:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    with launched(scripted()) as service:
        asyncio.run(measure(service, "steady", options.rounds, options.seed))


if __name__ == "__main__":
    main()

"""How answers outlive their model replicas: `python -m tests.failover_rounds [--rounds 20] [--engine-rounds 3]`.

50 streams at once over two replicas, each in a conversation of its own. In each round one replica is killed or frozen
at a random token, or both are killed in turn. Every answer must have the tokens of an undisturbed run, each once and in
their order, and must stand once in Postgres. The longest time that a client waited for its next token is told. First
with scripted replicas, then with vLLM's engines and the demo model.
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
import yaml

from tests.launched import GUIDE, Launched, launched, replica_pids, service_file

STREAMS, TOKENS = 50, 120
PATH = "/v1/chat/completions"
KILLED, BOTH, FROZEN = "one is killed", "both are killed in turn", "one is frozen"
HOWS = (KILLED, BOTH, FROZEN)
SCRIPTED, ENGINE = "steady", "guide"


@dataclass
class Answer:
    """A stream as its client sees it."""

    number: int
    model: str
    said: str = ""
    tokens: list[str | int] = field(default_factory=list[str | int])
    """What each token is: its id, or the word of a scripted replica, of which each is another one."""
    conversation: str = ""
    usage: dict[str, Any] = field(default_factory=dict[str, Any])
    longest_pause_s: float = 0.0
    error: str = ""

    @property
    def body(self) -> dict[str, Any]:
        """The request: every other one is greedy, the rest have a seed."""
        asked = f"Question {self.number}: what does the cache do?"
        if self.model == SCRIPTED:
            asked = " ".join(f"{self.number}-{word}" for word in range(TOKENS))
        return {
            "model": self.model,
            "messages": [{"role": "user", "content": asked}],
            "max_tokens": TOKENS,
            "stream": True,
            "stream_options": {"include_usage": True},
            "conversation": self.conversation,
            **({"temperature": 0} if self.number % 2 else {"temperature": 1, "seed": self.number}),
            **({} if self.model == SCRIPTED else {"min_tokens": TOKENS, "return_token_ids": True}),
        }

    async def read(self, http: httpx.AsyncClient) -> None:
        """Read it to its end."""
        self.conversation = (await http.post("/v1/conversations", json={})).json()["id"]
        last = time.perf_counter()
        async with http.stream("POST", PATH, json=self.body, headers={"cache-control": "no-store"}) as response:
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
            said = choice["delta"].get("content") or ""
            self.said += said
            self.tokens += said.split() if self.model == SCRIPTED else choice.get("token_ids") or ()


@dataclass
class Round:
    """One round: what is done to the replicas, and when."""

    service: Launched
    http: httpx.AsyncClient
    model: str
    rng: random.Random

    async def run(self, how: str, expected: dict[int, list[str | int]]) -> float:
        """Return the longest pause; raises AssertionError where an answer differs from the `expected` of its number."""
        answers = [Answer(number, self.model) for number in range(STREAMS)]
        reading = [asyncio.create_task(answer.read(self.http)) for answer in answers]
        before, lost = self._pids(), 0
        if how:
            lost = await self._disturb(how, answers)
        await asyncio.gather(*reading)
        assert len(set(self._pids()) & set(before)) >= len(before) - lost, "a replica was ended that nobody disturbed"
        for number, answer in enumerate(answers):
            assert not answer.error, (how, number, answer.error)
            assert answer.tokens == expected.setdefault(number, answer.tokens), (how, number)
            assert answer.usage["completion_tokens"] == len(answer.tokens) == TOKENS, (how, number)
            items = (await self.http.get(f"/v1/conversations/{answer.conversation}/items?order=asc")).json()["data"]
            assert [item["role"] for item in items] == ["user", "assistant"], (how, number, items)
            assert items[1]["content"][0]["text"] == answer.said, (how, number)
        return max(answer.longest_pause_s for answer in answers)

    async def _disturb(self, how: str, answers: list[Answer]) -> int:
        """Kill or freeze replicas; return how many."""
        await self._reached(answers, self.rng.randrange(2, TOKENS // 4))
        first, second = self.rng.sample(self._pids(), 2)
        os.kill(first, signal.SIGSTOP if how == FROZEN else signal.SIGKILL)
        if how == BOTH:
            # Each stream has a token of the second one: two replicas lost without one end a request.
            await self._reached(answers, TOKENS // 2)
            os.kill(second, signal.SIGKILL)
        return 2 if how == BOTH else 1

    async def _reached(self, answers: list[Answer], tokens: int) -> None:
        async with asyncio.timeout(240):
            while not all(len(answer.tokens) >= tokens or answer.usage for answer in answers):
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
    models = [{"id": SCRIPTED, "kind": "scripted", "tokens": TOKENS, "token_ms": 20}]
    return service_file(models, {"Ingress": 1, f"model-{SCRIPTED}": 2})


def engines() -> dict[str, Any]:
    """Return a service of two replicas of the demo model."""
    document = yaml.safe_load(GUIDE.read_text())
    [deployment] = document["applications"][1]["deployments"]
    deployment |= {"num_replicas": 2, "ray_actor_options": {"num_cpus": 0.5}}
    return document


async def measure(service: Launched, model: str, rounds: int, seed: int) -> dict[str, float]:
    """Print the longest pause of each round, and return that of each kind."""
    limits = httpx.Limits(max_connections=2 * STREAMS)
    pauses: dict[str, float] = {}
    async with service.client(limits=limits) as http:
        http.timeout = httpx.Timeout(300)
        one, expected = Round(service, http, model, random.Random(seed)), dict[int, list[str | int]]()
        await one.settled()
        print(f"{model}: undisturbed: longest pause {await one.run('', expected):.2f} s", flush=True)
        for number in range(rounds):
            how = HOWS[number % len(HOWS)]
            pause = await one.run(how, expected)
            pauses[how] = max(pauses.get(how, 0.0), pause)
            print(
                f"{model}: round {number + 1}: {how}: {STREAMS} equal answers, longest pause {pause:.2f} s", flush=True
            )
            await one.settled()
    return pauses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="with scripted replicas")
    parser.add_argument("--engine-rounds", type=int, default=3, help="with vLLM's engines")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    services = ((SCRIPTED, scripted, options.rounds), (ENGINE, engines, options.engine_rounds))
    for model, configured, rounds in services:
        if rounds:
            with launched(configured()) as service:
                for how, pause in asyncio.run(measure(service, model, rounds, options.seed)).items():
                    print(f"{model}: {how}: longest pause {pause:.2f} s", flush=True)


if __name__ == "__main__":
    main()

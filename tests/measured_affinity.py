"""What it is worth that a conversation's turns go to one replica: `python -m tests.measured_affinity`.

Four replicas of the demo model on the real engine, behind Serve's own choice and behind the product's. Conversations
are led side by side; the engine tells how many tokens of each prompt it had kept (`usage.prompt_tokens_details`). The
first turns, which no replica can know, are not counted.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import time
from typing import Any

import httpx
import yaml

from deployments.app import ROUTER
from deployments.models.router import ObservedRouter
from tests.launched import GUIDE, ROOT, launched

REPLICAS, CONVERSATIONS, AT_ONCE = 4, 24, 4
HEAD_WORDS, WORDS, TURNS, ANSWER_TOKENS = 250, 30, 5, 16


class WithoutAffinity(ObservedRouter):
    """Serve's choice between two replicas."""

    def _knows_head(self, head: bytes, replicas: Any) -> None:
        return None


def service_file(router: str) -> dict[str, Any]:
    """Return the demo model's file with more replicas, behind a router."""
    document = yaml.safe_load(GUIDE.read_text())
    document["applications"][1]["args"]["engine"]["model"] = str(ROOT / "demo_model/weights")
    deployment = document["applications"][1]["deployments"][0]
    deployment |= {"num_replicas": REPLICAS, "ray_actor_options": {"num_cpus": 0.1}}
    deployment["request_router_config"] = {"request_router_class": router}
    return document


async def conversation(http: httpx.AsyncClient, number: int) -> list[tuple[int, int, float]]:
    """Lead one, and return the tokens of each prompt, those that were kept, and the seconds to the first token."""
    rng, figures = random.Random(number), list[tuple[int, int, float]]()
    messages = [{"role": "user", "content": text(rng, HEAD_WORDS)}]
    for _ in range(TURNS):
        began, first, said, usage = time.perf_counter(), 0.0, "", dict[str, Any]()
        body = {"model": "guide", "messages": messages, "max_tokens": ANSWER_TOKENS, "stream": True, "temperature": 1}
        body |= {"stream_options": {"include_usage": True}}
        async with http.stream("POST", "/v1/chat/completions", json=body) as response:
            assert response.status_code == 200, await response.aread()
            async for line in response.aiter_lines():
                if line.startswith("data: {"):
                    event = json.loads(line.removeprefix("data: "))
                    delta = event["choices"][0]["delta"].get("content") if event["choices"] else None
                    first, said = first or (time.perf_counter() - began if delta else 0.0), said + (delta or "")
                    usage = event.get("usage") or usage
        kept = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        figures.append((usage["prompt_tokens"], kept, first))
        messages += [{"role": "assistant", "content": said}, {"role": "user", "content": text(rng, WORDS)}]
    return figures


def text(rng: random.Random, words: int) -> str:
    """Return words without a meaning, which no other conversation begins with."""
    return " ".join(rng.choice(("apple", "river", "stone", "cloud", "paper", "music")) for _ in range(words))


async def measured(url: str, key: str) -> tuple[float, float, float]:
    """Return the share of the prompts' tokens that was kept, and the first token's median and 95th percentile in ms."""
    places = asyncio.Semaphore(AT_ONCE)
    async with httpx.AsyncClient(base_url=url, headers={"authorization": f"Bearer {key}"}, timeout=300) as http:
        async with asyncio.timeout(300):
            while (await http.get("/ready")).json()["models"][0]["replicas"] < REPLICAS:
                await asyncio.sleep(1)

        async def one(number: int) -> list[tuple[int, int, float]]:
            async with places:
                return await conversation(http, number)

        later = [turn for turns in await asyncio.gather(*map(one, range(CONVERSATIONS))) for turn in turns[1:]]
    took = [first * 1000 for _, _, first in later]
    share = sum(kept for _, kept, _ in later) / sum(prompt for prompt, _, _ in later)
    return share, statistics.median(took), statistics.quantiles(took, n=20)[-1]


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print(f"{CONVERSATIONS} conversations of {TURNS} turns, {AT_ONCE} at a time; load average {os.getloadavg()[0]:.1f}")
    print("| router | tokens of later prompts that were kept | first token p50 | p95 |\n| --- | --- | --- | --- |")
    without = "tests.measured_affinity.WithoutAffinity"  # here it is `__main__`'s
    for name, router in (("Serve's own", without), ("by conversation", ROUTER)):
        with launched(service_file(router)) as service:
            share, p50, p95 = asyncio.run(measured(service.url, service.key))
        print(f"| {name} | {share:.0%} | {p50:.0f} ms | {p95:.0f} ms |", flush=True)


if __name__ == "__main__":
    main()

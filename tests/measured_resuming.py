"""What comes of streams whose connections are cut: `python -m tests.measured_resuming` prints the figures of
docs/how-to/resumable-streams.md.

A whole service with two ingress replicas, and between them and the client a proxy that resets each connection after
a random number of events. Every time the client resumes at the other replica. Counted at the scripted model: how
often it was asked. Then the replica that generates is killed (`kill -9`), and streams are left alone for a little
less, and a little more, than their grace.
"""

import argparse
import asyncio
import itertools
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.counted_models import begun
from tests.cutting import Client, cutting_proxy
from tests.launched import Launched, launched
from tests.serve.redeployed import Document, application, deploy, deployed_document, service_file, until
from tests.serve.test_faults import ingress_urls

TOKENS, TOKEN_MS = 60, 10
GRACE_S = 3.0
EARLY_S, LATE_S = 2.8, 3.2
KILL_TOKENS = 300


def file() -> Document:
    """Return two ingress replicas and a model."""
    document = service_file()
    chatllm = application(document, "chatllm")
    chatllm["args"]["streams"] = {"grace_s": GRACE_S, "max_logs_per_key": 100_000}
    chatllm["deployments"][0]["num_replicas"] = 2
    one = application(document, "model-one")
    one["args"] |= {"tokens": 5000, "token_ms": TOKEN_MS, "context_tokens": 10_000}
    one["deployments"][0]["max_ongoing_requests"] = 2000
    document["applications"].remove(application(document, "model-two"))
    return document


def request(text: str, tokens: int = TOKENS) -> dict[str, Any]:
    """Return a request that nobody joins."""
    said = [{"role": "user", "content": text}]
    return {"model": "one", "messages": said, "temperature": 0, "max_tokens": tokens}


def text_of(said: str, tokens: int = TOKENS) -> str:
    """Return what the scripted model answers."""
    words = said.split()
    return "".join(f"{word} " for word in itertools.islice(itertools.cycle(words), tokens))


@dataclass
class Bench:
    """A service, the addresses of its two ingress replicas behind proxies, and chance."""

    service: Launched
    urls: list[str]
    drawn: random.Random

    @property
    def state(self) -> Path:
        return Path(self.service.environment["CHATLLM_STATE"])

    def alternating(self, first: int = 0) -> Callable[[], str]:
        """Return the replicas' addresses in turn."""
        turn = itertools.cycle([self.urls[first], self.urls[1 - first]])
        return lambda: next(turn)

    async def running(self) -> int:
        """Return how many requests the model's engine holds."""
        async with self.service.client() as http:
            return (await http.get("/v1/models/one")).json()["running"]


async def cuts(bench: Bench, streams: int, at_once: int) -> None:
    """Read streams over connections that are cut, and compare all that came."""
    gate, before = asyncio.Semaphore(at_once), len(begun(bench.state))
    wrong: list[str] = []
    resumed = Counter[int]()

    async def one(number: int) -> None:
        async with gate:
            said = f"stream {number} of the first kind"
            client = await Client(bench.service.key, bench.alternating(number % 2)).run(request(said))
            resumed[client.resumed] += 1
            if client.text != text_of(said) or len(set(client.ids)) != len(client.ids) or client.error:
                wrong.append(f"{number}: {client.error} {client.text[-60:]!r}")

    began = time.monotonic()
    await asyncio.gather(*(one(number) for number in range(streams)))
    runs = len(begun(bench.state)) - before
    print(
        f"cut: {streams} streams of {TOKENS} tokens, resumed {dict(sorted(resumed.items()))} times, "
        f"{len(wrong)} with another text, {runs} engine runs, {time.monotonic() - began:.0f} s"
    )
    print(*wrong[:5], sep="\n", end="")


async def kills(bench: Bench, streams: int) -> None:
    """Kill the replica that generates, and resume at the other one."""
    pids = await ingress_urls(bench.service)
    (lost, pid), (left, _) = pids.items()
    before = len(begun(bench.state))
    clients = [Client(bench.service.key, _first_then(lost, left)) for _ in range(streams)]
    tasks = [
        asyncio.create_task(client.run(request(f"stream {at} to lose", KILL_TOKENS)))
        for at, client in enumerate(clients)
    ]
    async with asyncio.timeout(60):
        while not all(client.ids for client in clients):
            await asyncio.sleep(0.05)
    await asyncio.sleep(bench.drawn.uniform(0.2, 1.0))
    os.kill(pid, signal.SIGKILL)
    await asyncio.gather(*tasks)
    whole = sum(client.text == text_of(f"stream {at} to lose", KILL_TOKENS) for at, client in enumerate(clients))
    runs = len(begun(bench.state)) - before
    print(f"kill -9: {whole} of {streams} streams with the same text, {runs} engine runs (one and one again each)")


def _first_then(first: str, second: str) -> Callable[[], str]:
    urls = itertools.chain([first], itertools.repeat(second))
    return lambda: next(urls)


async def grace(bench: Bench) -> None:
    """Leave streams alone, and come back before their grace is over, and after."""
    for pause_s in (EARLY_S, LATE_S):
        said = f"away for {pause_s} s"
        client = Client(bench.service.key, bench.alternating())
        reading = asyncio.create_task(client.run(request(said, 2000)))
        async with asyncio.timeout(30):
            while len(client.ids) < 10:
                await asyncio.sleep(0.01)
        reading.cancel()
        await asyncio.wait([reading])
        await asyncio.sleep(pause_s)
        running = await bench.running()
        had = len(client.ids)
        resuming = asyncio.create_task(client.run(request(said, 2000)))
        await asyncio.sleep(0.5)
        print(
            f"grace of {GRACE_S:g} s: after {pause_s} s the engine runs {running}, "
            f"{len(client.ids) - had} more events at once, error {client.error and client.error['message']}"
        )
        resuming.cancel()
        await asyncio.wait([resuming])
        async with bench.service.client() as http:
            await http.delete(f"/v1/streams/{client.stream_id}")


async def count_generations(service: Launched) -> None:
    """Deploy the model that counts in the place of the product's."""
    document = deployed_document(service)
    application(document, "model-one")["import_path"] = "tests.counted_models:build_model"
    await deploy(service, document)
    state = Path(service.environment["CHATLLM_STATE"])

    async def counts() -> bool:
        async with service.client() as http:
            await http.post("/v1/chat/completions", json=request("does it count", 1))
        return bool(begun(state))

    await until(counts, within_s=120)


async def measure(options: argparse.Namespace) -> None:
    """Print all figures."""
    drawn = random.Random(options.seed)
    with launched(file()) as service:
        await count_generations(service)
        async with AsyncExitStack() as stack:
            direct = list(await ingress_urls(service))

            def at() -> int:
                return drawn.randrange(1, TOKENS + 10)

            urls = [await stack.enter_async_context(cutting_proxy(url, at)) for url in direct]
            await cuts(Bench(service, urls, drawn), options.streams, options.at_once)
            bench = Bench(service, direct, drawn)
            await grace(bench)
            for _ in range(options.kills):
                await kills(bench, options.killed_streams)


def main() -> None:
    """Measure with what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--at-once", type=int, default=40)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--killed-streams", type=int, default=25)
    parser.add_argument("--seed", type=int, default=1)
    asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()

"""What comes of streams whose connections are cut: `python -m tests.measured_resuming` prints the figures of
docs/how-to/resumable-streams.md.

Two ingress replicas in processes of their own upon a real Postgres and Valkey, and between them and the client
proxies that reset each connection after a random number of events. Every time the client resumes at the other
replica. Counted at the scripted models: how often they were asked. Then streams are left alone for a little less, and
a little more, than their grace, and a replica is killed (`kill -9`) in mid-answer.
"""

import argparse
import asyncio
import itertools
import random
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from deployments.local.servers.postgres import PostgresServer
from deployments.local.servers.valkey import ValkeyServer
from deployments.local.state import StateFolder
from loadtests.paced import Client as LoadClient
from loadtests.paced import Tally
from loadtests.streams import Target
from tests.cutting import Client, cutting_proxy
from tests.ingress_processes import Ingress, ingress_processes

TOKENS, TOKEN_MS = 60, 10
GRACE_S = 5.0
MARGIN_S = 0.3
KILL_TOKENS = 300
COST_ROUNDS = ("plain", "resumable") * 3


def request(text: str, tokens: int = TOKENS) -> dict[str, Any]:
    """Return a request that nobody joins."""
    said = [{"role": "user", "content": text}]
    return {"model": "model", "messages": said, "temperature": 0, "max_tokens": tokens}


def text_of(said: str, tokens: int = TOKENS) -> str:
    """Return what the scripted model answers."""
    return "".join(f"{word} " for word in itertools.islice(itertools.cycle(said.split()), tokens))


@dataclass
class Bench:
    """The replicas, the addresses by which clients reach them, and chance."""

    replicas: list[Ingress]
    urls: list[str]
    drawn: random.Random

    def alternating(self, first: int = 0) -> Callable[[], str]:
        """Return the replicas' addresses in turn."""
        turn = itertools.cycle([self.urls[first], self.urls[1 - first]])
        return lambda: next(turn)

    def client(self, next_url: Callable[[], str]) -> Client:
        return Client(self.replicas[0].key, next_url)

    @property
    def begun(self) -> int:
        """How often the models were asked."""
        return sum(len(one.begun) for one in self.replicas)


async def cuts(bench: Bench, streams: int, at_once: int) -> None:
    """Read streams over connections that are cut, and compare all that came."""
    gate, before = asyncio.Semaphore(at_once), bench.begun
    wrong, resumed = list[str](), Counter[int]()

    async def one(number: int) -> None:
        async with gate:
            said = f"stream {number} of the first kind"
            client = await bench.client(bench.alternating(number % 2)).run(request(said))
            resumed[client.resumed] += 1
            if client.text != text_of(said) or len(set(client.ids)) != len(client.ids) or client.error:
                wrong.append(f"{number}: {client.error} {client.text[-60:]!r}")

    began = time.monotonic()
    await asyncio.gather(*(one(number) for number in range(streams)))
    connections = sum(times * count for times, count in resumed.items())
    print(
        f"cut: {streams} streams of {TOKENS} tokens, resumed {connections} times at the other replica "
        f"(at most {max(resumed)} times each), {len(wrong)} with another text, {bench.begun - before} engine runs, "
        f"{time.monotonic() - began:.0f} s"
    )
    print(*wrong[:5], sep="\n", end="")


async def grace(bench: Bench) -> None:
    """Leave streams alone, and come back before their grace is over, and after."""
    for pause_s in (GRACE_S - MARGIN_S, GRACE_S + MARGIN_S):
        asked = request(f"away for {pause_s} s", 4000)
        client = bench.client(bench.alternating())
        reading = asyncio.create_task(client.run(asked))
        async with asyncio.timeout(30):
            while len(client.ids) < 10:
                await asyncio.sleep(0.01)
        reading.cancel()
        await asyncio.wait([reading])
        await asyncio.sleep(pause_s)
        running, had = await bench.replicas[0].running(), len(client.ids)
        resuming = asyncio.create_task(client.run(asked))
        await asyncio.sleep(1)
        error = client.error and client.error["message"]
        print(
            f"grace of {GRACE_S:g} s: after {pause_s} s the engine runs {running}; "
            f"resumed, {len(client.ids) - had} more events within a second, error: {error}"
        )
        resuming.cancel()
        await asyncio.wait([resuming])
        async with bench.replicas[1].client() as http:
            await http.delete(f"/v1/streams/{client.stream_id}")


async def kill(bench: Bench, streams: int) -> None:
    """Kill the first replica in the middle of its answers, and resume at the other one."""
    lost, left = bench.replicas
    before = bench.begun
    places = [itertools.chain([lost.url], itertools.repeat(left.url)) for _ in range(streams)]
    clients = [bench.client(lambda place=place: next(place)) for place in places]
    said = [f"stream {at} to lose" for at in range(streams)]
    tasks = [asyncio.create_task(one.run(request(text, KILL_TOKENS))) for one, text in zip(clients, said, strict=True)]
    async with asyncio.timeout(60):
        while not all(client.ids for client in clients):
            await asyncio.sleep(0.05)
    await asyncio.sleep(bench.drawn.uniform(0.2, 1.0))
    await lost.kill()
    await asyncio.gather(*tasks)
    whole = sum(one.text == text_of(text, KILL_TOKENS) for one, text in zip(clients, said, strict=True))
    once = sum(len(set(one.ids)) == len(one.ids) for one in clients)
    print(
        f"kill -9: {whole} of {streams} streams with the same text, {once} without an event twice, "
        f"{bench.begun - before} engine runs (each once, and once again)"
    )


async def cost(bench: Bench, streams: int, window_s: float) -> None:
    """Compare the processor time that a replica takes for each token of plain streams and of resumable ones."""
    (replica, _), taken = bench.replicas, dict[str, list[float]]()
    process = psutil.Process(replica.process.pid)
    for kind in COST_ROUNDS:
        headers = ("x-chatllm-resumable: 1",) if kind == "resumable" else ()
        target, tally = Target(kind, replica.url, "model", replica.key, headers), Tally()
        opened = await LoadClient(target).open(tally, "model", 4000, streams)
        await asyncio.sleep(1)
        events, before = tally.events, process.cpu_times()
        await asyncio.sleep(window_s)
        after, seen = process.cpu_times(), tally.events - events
        spent_s = after.user + after.system - before.user - before.system
        taken.setdefault(kind, []).append(spent_s * 1e6 / seen)
        for stream in opened:
            stream.leave()
        await asyncio.sleep(GRACE_S + 1)
    for kind, each in taken.items():
        print(f"cost: {streams} {kind} streams take", ", ".join(f"{one:.1f}" for one in each), "us of CPU per token")
    medians = {kind: statistics.median(each) for kind, each in taken.items()}
    print(f"cost: {medians['resumable'] - medians['plain']:.1f} us more, model and HTTP in one process")


@asynccontextmanager
async def stores() -> AsyncGenerator[tuple[str, str]]:
    """Run a Postgres and a Valkey of our own; yield their addresses."""
    with tempfile.TemporaryDirectory(prefix="chatllm-resuming-") as folder:
        state = StateFolder.open(Path(folder))
        postgres, valkey = PostgresServer(state), ValkeyServer(state)
        try:
            postgres.start()
            valkey.start()
            yield postgres.url, valkey.url
        finally:
            valkey.stop()
            postgres.stop()


async def measure(options: argparse.Namespace) -> None:
    """Print all figures."""
    drawn = random.Random(options.seed)
    model = {"tokens": 5000, "token_ms": 20 if options.cost else TOKEN_MS, "context_tokens": 10_000}
    settings = {
        "streams": {"grace_s": GRACE_S, "max_logs_per_key": 100_000},
        "key_limits": {"timeout_s": 2, "concurrent_requests": 0},
    }
    async with stores() as urls, ingress_processes(2, *urls, model, **settings) as replicas, AsyncExitStack() as stack:

        def at() -> int:
            return drawn.randrange(1, TOKENS + 10)

        proxies = [await stack.enter_async_context(cutting_proxy(one.url, at)) for one in replicas]
        bench = Bench(replicas, [one.url for one in replicas], drawn)
        if options.cost:
            await cost(bench, 64, 6)
            return
        await cuts(Bench(replicas, proxies, drawn), options.streams, options.at_once)
        await grace(bench)
        await kill(bench, options.killed)


def main() -> None:
    """Measure with what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--at-once", type=int, default=20)
    parser.add_argument("--killed", type=int, default=50, help="streams at the replica that is killed")
    parser.add_argument("--cost", action="store_true", help="measure the processor time instead")
    parser.add_argument("--seed", type=int, default=1)
    asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()

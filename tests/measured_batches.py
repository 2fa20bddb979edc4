"""What a batch costs those who wait for their answers, and they the batch: `python -m tests.measured_batches`.

One ingress replica and a scripted engine of `--slots` places in a process of their own, with the real Postgres and
Valkey; the load comes from this one. First interactive streams alone, then a batch of `--lines` alone, then both, then
the streams alone again. Printed are the seconds to the first token (p50 and p95) of the interactive streams, and the
tokens a second that the engine generates in all.
"""

import argparse
import asyncio
import json
import random
import secrets
import statistics
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from deployments.config import BatchSettings, ScriptedModel
from deployments.local.servers.postgres import PostgresServer
from deployments.local.servers.valkey import ValkeyServer
from deployments.local.state import StateFolder
from tests.integration.serving import Served, served

PATH = "/v1/chat/completions"
LENGTHS = (4, 28)
"""Tokens of an answer, evenly spread: answers of one length would end, and begin, in waves."""
LENGTH = random.Random(1)


async def serve(slots: int, token_ms: float) -> None:
    """Serve until standard input is closed."""
    model = ScriptedModel(id="model", kind="scripted", tokens=LENGTHS[1], token_ms=token_ms, slots=slots)
    with TemporaryDirectory(dir="/tmp") as folder:
        state = StateFolder.open(Path(folder) / "state")
        postgres, valkey = PostgresServer(state), ValkeyServer(state)
        try:
            urls = postgres.start(), valkey.start()
            async with served(*urls, model, batches=BatchSettings()) as found:
                print(found.url, found.key, flush=True)
                await asyncio.to_thread(sys.stdin.read)
        finally:
            valkey.stop()
            postgres.stop()


@asynccontextmanager
async def service(slots: int, token_ms: float) -> AsyncGenerator[Served]:
    """Run the service in a process of its own."""
    command = ("-m", "tests.measured_batches", "--serve", f"--slots={slots}", f"--token-ms={token_ms}")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stdin=pipe, stdout=pipe)
    assert process.stdin and process.stdout
    try:
        yield Served(*(await asyncio.wait_for(process.stdout.readline(), 60)).decode().split())
    finally:
        process.stdin.close()
        await process.wait()


def question() -> dict[str, object]:
    """A request that the cache has never seen, for an answer of some length."""
    messages = [{"role": "user", "content": f"say {secrets.token_hex(8)}"}]
    return {"messages": messages, "max_tokens": LENGTH.randint(*LENGTHS)}


async def first_token_s(http: httpx.AsyncClient) -> float:
    began, first = time.perf_counter(), None
    async with http.stream("POST", PATH, json={**question(), "stream": True}) as response:
        async for line in response.aiter_lines():
            if '"content":"s' in line and first is None:
                first = time.perf_counter() - began
    assert first is not None
    return first


async def interactive(http: httpx.AsyncClient, rate: float, until: asyncio.Event, at_most: int) -> list[float]:
    """Ask at random moments, `rate` times a second on average."""
    chance, tasks = random.Random(1), list[asyncio.Task[float]]()
    while len(tasks) < at_most and not until.is_set():
        tasks.append(asyncio.create_task(first_token_s(http)))
        await asyncio.sleep(chance.expovariate(rate))
    return list(await asyncio.gather(*tasks))


async def batch(http: httpx.AsyncClient, lines: int) -> tuple[float, int]:
    """Return the seconds from the first line's start to the last one's end, and the tokens of all answers."""
    content = "\n".join(
        json.dumps({"custom_id": str(at), "method": "POST", "url": PATH, "body": question()}) for at in range(lines)
    )
    made = await http.post("/v1/files", data={"purpose": "batch"}, files={"file": ("in.jsonl", content)})
    wanted = {"input_file_id": made.json()["id"], "endpoint": PATH, "completion_window": "24h"}
    id_ = (await http.post("/v1/batches", json=wanted)).json()["id"]
    began = 0.0
    while (found := (await http.get(f"/v1/batches/{id_}")).json())["status"] not in ("finalizing", "completed"):
        assert found["status"] in ("validating", "in_progress"), found
        if found["status"] == "in_progress" and not began:
            began = time.perf_counter()
        await asyncio.sleep(0.1)
    took = time.perf_counter() - began
    while (found := (await http.get(f"/v1/batches/{id_}")).json())["status"] != "completed":
        await asyncio.sleep(0.1)
    assert found["request_counts"] == {"total": lines, "completed": lines, "failed": 0}, found
    return took, found["usage"]["output_tokens"]


def told(name: str, seconds: Sequence[float]) -> str:
    p95 = statistics.quantiles(seconds, n=20)[-1]
    return f"{name}: {len(seconds)} streams, TTFT p50 {statistics.median(seconds):.3f} s, p95 {p95:.3f} s"


async def measure(lines: int, slots: int, token_ms: float, rate: float) -> None:
    async with service(slots, token_ms) as running, running.client() as http:
        alone = await interactive(http, rate, asyncio.Event(), int(rate * 20))
        print(told("interactive alone, before", alone), flush=True)
        alone_s, tokens = await batch(http, lines)
        of_batch = tokens / alone_s
        print(f"batch alone: {lines} lines in {alone_s:.1f} s, {of_batch:.0f} tokens/s", flush=True)
        ended = asyncio.Event()
        asking = asyncio.create_task(interactive(http, rate, ended, 100_000))
        both_s, tokens = await batch(http, lines)
        ended.set()
        beside = await asking
        of_both = (tokens + len(beside) * sum(LENGTHS) / 2) / both_s
        print(told("interactive beside it", beside))
        share = of_both / of_batch
        print(f"both: the batch in {both_s:.1f} s, {of_both:.0f} tokens/s in all, {share:.0%} of the batch alone")
        again = await interactive(http, rate, asyncio.Event(), int(rate * 20))
        print(told("interactive alone, after", again))
        alone += again
        ratio = statistics.quantiles(beside, n=20)[-1] / statistics.quantiles(alone, n=20)[-1]
        print(f"TTFT p95 beside the batch: {ratio:.2f} times that alone")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--lines", type=int, default=10_000)
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--token-ms", type=float, default=40.0)
    parser.add_argument("--rate", type=float, default=5.0, help="interactive streams a second")
    parser.add_argument("--serve", action="store_true", help="be the service")
    given = parser.parse_args()
    if given.serve:
        asyncio.run(serve(given.slots, given.token_ms))
        return
    asyncio.run(measure(given.lines, given.slots, given.token_ms, given.rate))


if __name__ == "__main__":
    main()

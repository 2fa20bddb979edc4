"""What everything but the model costs, with a model that is programmed: no GPU is needed (`make bench-relay`).

    python -m loadtests.relay                              # one, two and four ingress replicas, about five minutes
    python -m loadtests.relay --quick                      # one ingress replica, shorter
    python -m loadtests.relay --baseline results/X.json    # status 1 if that result was better by more than chance

Scripted models give every stream a token at each step, all at the same moment, as
an engine does: a step of 5 ms up to 10 streams, of 20 ms up to 100, of 100 ms
above. So it is known what should arrive, and when; what arrives is counted in a
window, beside the processor time of each part of the service. What the idle
stack burns is measured before and taken off. Client and service share the
machine: on few cores the whole is full before the ingress is, and then it is the
microseconds per token of each process that tell how far one of them would go.

    one token            the time that is not the model's, and answers per second over 64 connections
    streams              what a token costs at the ingress, the model's replica, HAProxy and the rest
    full                 more tokens than can pass: what passes, for each number of ingress replicas
    idle                 streams that are open and silent: what each holds of the ingress's memory
    growth               the ingress's memory before and after answers of one token

`--app` takes another application than the product's: tests/slowed.py has one that is 2 ms slower.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvloop
import yaml

from loadtests.bare_vllm import NotStarted
from loadtests.counting import StreamLoad, counters
from loadtests.paced import Client, Tally
from loadtests.relay_report import Idle, OneToken, RelayResults, Width
from loadtests.sides import Processes, Service, ends_with_its_service, whole_service
from loadtests.streams import Target, quantile_ms

RESULTS = Path(__file__).parent / "results"
STEPS_MS = {10: 5, 100: 20, sys.maxsize: 100}
"""Milliseconds of a step, up to so many streams."""
SATURATING = 400, 5
"""Streams and milliseconds of a step: 80,000 tokens a second."""
AT_ONCE, SILENCE_MS = 0, 3_600_000
"""Of the model for answers of one token, and of the one whose answers begin and go no further."""
CONNECTIONS = 64
MEMORY_SAMPLES = 10
ALONE = 200
"""Requests one after another."""
SETTLING_S = 1.0


def main() -> None:
    """Measure; leave with 1 if something failed or the baseline was better."""
    options = _options()
    ends_with_its_service()
    try:
        sys.exit(uvloop.run(relay(options)))
    except NotStarted as error:
        sys.exit(f"error: {error}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one ingress replica and shorter windows")
    parser.add_argument("--streams", default="1,10,64,100,1000")
    parser.add_argument("--ingresses", default="1,2,4", help="numbers of ingress replicas")
    parser.add_argument(
        "--scale", action="store_true", help="for N ingress replicas N times the streams, model replicas and clients"
    )
    parser.add_argument(
        "--resumable", action="store_true", help="measure each number of streams again, as streams to come back to"
    )
    parser.add_argument("--window", type=float, default=8.0, help="seconds for which tokens are counted")
    parser.add_argument("--idle-streams", type=int, default=2000)
    parser.add_argument("--requests", type=int, default=20_000, help="answers of one token, for memory and requests/s")
    parser.add_argument("--baseline", type=Path, help="an earlier result, as JSON")
    parser.add_argument("--app", default="deployments.app:build_app", help="import path of the application")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the JSON")
    options = parser.parse_args()
    if options.quick:
        options.ingresses, options.window, options.requests = "1", 5.0, 2000
    return options


async def relay(options: argparse.Namespace) -> int:
    """Measure all numbers of ingress replicas, print and write what was found, and return the exit status."""
    results = RelayResults(os.getloadavg()[0])
    for ingresses in map(int, options.ingresses.split(",")):
        async with _service(options.app, ingresses, ingresses if options.scale else 1) as service:
            run = Run(service, options.window)
            await run.rest([model(step) for step in (AT_ONCE, *STEPS_MS.values())])
            if not results.widths:
                await _one_ingress(run, options, results)
            times = ingresses if options.scale else 1
            results.full[ingresses] = await run.width(SATURATING[0] * times, SATURATING[1], times)
            print(f"{ingresses} ingress replicas: {results.full[ingresses].line()}", flush=True)
    print(results.table())
    print(results.write(options.results))
    return results.exit_status(options.baseline)


async def _one_ingress(run: "Run", options: argparse.Namespace, results: RelayResults) -> None:
    results.idle_burn = run.idle_burn
    results.one_token = await run.one_token(options.requests)
    print(results.one_token.line(), flush=True)
    results.idle = await run.idle(options.idle_streams)
    print(results.idle.line(), flush=True)
    for streams in map(int, options.streams.split(",")):
        results.widths.append(await run.width(streams, step_ms(streams)))
        print(results.widths[-1].line(), flush=True)
        if options.resumable:
            again = await run.resumable().width(streams, step_ms(streams))
            print(f"{again.line()}  resumable: {again.total_us / results.widths[-1].total_us:.2f} times", flush=True)


class Run:
    """One service, and what is measured of it."""

    def __init__(self, service: Service, window_s: float) -> None:
        self._processes: Processes = service.processes
        self._target = Target("service", service.url, "", service.key)
        self._client = Client(self._target)
        self._window_s = window_s
        self.idle_burn: dict[str, float] = {}
        """Seconds of CPU that each part takes in a second without any request."""

    def resumable(self) -> "Run":
        """Return the same, with requests for streams that can be resumed."""
        other = copy(self)
        other._target = replace(self._target, headers=("x-chatllm-resumable: 1",))
        return other

    async def rest(self, models: Iterable[str]) -> None:
        """Have these models answer once, and measure what the idle stack burns."""
        for name in models:
            await self._client.ask(Tally(), name, 4, 64)
        await asyncio.sleep(3 * SETTLING_S)
        before, began = self._processes.cpu_s(), time.perf_counter()
        await asyncio.sleep(self._window_s)
        after, took_s = self._processes.cpu_s(), time.perf_counter() - began
        self.idle_burn = {part: round(max(0.0, after[part] - before[part]) / took_s, 4) for part in after}

    async def one_token(self, requests: int) -> OneToken:
        """Measure answers of one token: one after another, then over many connections, and what memory they leave."""
        alone, tally = Tally(), Tally()
        await self._client.ask(alone, model(AT_ONCE), 1, ALONE)
        memory_mb, before = [self._processes.ingress_uss_mb()], self._processes.cpu_s()
        took_s = spent_s = 0.0
        for _ in range(MEMORY_SAMPLES):
            spent_s -= time.process_time()
            took_s += await self._client.ask(tally, model(AT_ONCE), CONNECTIONS, requests // MEMORY_SAMPLES)
            spent_s += time.process_time()
            memory_mb.append(self._processes.ingress_uss_mb())
        taken = self._taken(before, took_s)
        return OneToken(
            requests=requests,
            failures=alone.failures | tally.failures,
            first_ms_p50=quantile_ms(alone.first_s, 0.5),
            first_ms_p99=quantile_ms(alone.first_s, 0.99),
            per_s=round(tally.whole / took_s, 1),
            cpu_us={part: round(seconds * 1e6 / requests, 1) for part, seconds in taken.items()},
            client_us=round(spent_s * 1e6 / requests, 1),
            ingress_mb=memory_mb,
        )

    async def width(self, streams: int, step: int, clients: int = 1, name: str = "") -> Width:
        """Count what `streams` answers bring to so many clients within the window, and what it costs.

        `name` is the model's whose step takes so many milliseconds, by default that of the step.
        """
        lasts_s = self._window_s + SETTLING_S + 0.01 * streams + 15
        load = StreamLoad(self._target, name or model(step), int(lasts_s * 1000 / step), streams // clients)
        async with counters([load] * clients) as opened:
            await asyncio.sleep(SETTLING_S)
            before, began = self._processes.cpu_s(), time.perf_counter()
            counted = await opened.count(self._window_s)
            took_s = time.perf_counter() - began
            taken = self._taken(before, took_s)
        await asyncio.sleep(SETTLING_S)
        gaps_s, events = [gap_s for one in counted for gap_s in one.gaps_s], sum(one.events for one in counted)
        return Width(
            streams=streams,
            step_ms=step,
            failures=sum_of(one.failures for one in counted),
            tokens_per_s=round(events / took_s, 1),
            pieces_per_s=round(sum(one.pieces for one in counted) / took_s, 1),
            gap_ms_p50=quantile_ms(gaps_s, 0.5),
            gap_ms_p99=quantile_ms(gaps_s, 0.99),
            cpu_us={part: round(seconds * 1e6 / max(1, events), 1) for part, seconds in taken.items()},
            cores={part: round(seconds / took_s, 3) for part, seconds in taken.items()},
            client_us=round(sum(one.spent_s for one in counted) * 1e6 / max(1, events), 1),
        )

    async def idle(self, streams: int) -> Idle:
        """Hold streams that have begun and say nothing, and measure what each of them takes of the ingress's memory."""
        before_mb, tally = self._processes.ingress_uss_mb(), Tally()
        opened = await self._client.open(tally, model(SILENCE_MS), 16, streams)
        await asyncio.sleep(2 * self._window_s)
        held, held_mb = sum(not stream.ended.done() for stream in opened), self._processes.ingress_uss_mb()
        beside = Tally()
        await self._client.ask(beside, model(AT_ONCE), 1, 16)
        for stream in opened:
            stream.leave()
        await asyncio.sleep(5 * SETTLING_S)
        return Idle(
            streams=streams,
            failures=tally.failures | beside.failures,
            held=held,
            kb_each=round((held_mb - before_mb) * 1024 / streams, 1),
            ingress_mb=(before_mb, held_mb, self._processes.ingress_uss_mb()),
            first_ms_p50_beside=quantile_ms(beside.first_s, 0.5),
        )

    def _taken(self, before: dict[str, float], took_s: float) -> dict[str, float]:
        """Return the seconds that each part took since `before`, without what the idle stack takes in that time."""
        after = self._processes.cpu_s()
        return {part: max(0.0, after[part] - before[part] - self.idle_burn[part] * took_s) for part in after}


def sum_of(failures: Iterable[dict[str, int]]) -> dict[str, int]:
    """Return how often each failure came to all clients together."""
    return dict(sum((Counter(one) for one in failures), Counter[str]()))


def step_ms(streams: int) -> int:
    """Return how long a step takes with so many streams."""
    return next(step for most, step in STEPS_MS.items() if streams <= most)


def model(step: int) -> str:
    """Return the name of the model whose step takes so many milliseconds."""
    return f"step-{step}"


@asynccontextmanager
async def _service(application: str, ingresses: int, models: int) -> AsyncGenerator[Service]:
    with tempfile.TemporaryDirectory(prefix="chatllm-relay-") as folder:
        config = Path(folder) / "serve_config.yaml"
        config.write_text(yaml.safe_dump(document(application, ingresses, models)), encoding="utf-8")
        async with whole_service(config) as service:
            yield service


def document(application: str, ingresses: int, replicas_of_models: int = 1) -> dict[str, Any]:
    """Return what is deployed: a scripted model for each step, and limits that are out of the way."""
    models = [
        {"id": model(step), "kind": "scripted", "tokens": 1_000_000, "token_ms": step, "in_step": True}
        for step in (AT_ONCE, *STEPS_MS.values(), SILENCE_MS)
    ]
    hour = {"first_token_s": 3600, "idle_s": 3600, "total_s": 3600}
    replicas = {"Ingress": ingresses, "CacheLookup": 1, **{f"model-{one['id']}": 1 for one in models}}
    replicas[f"model-{model(SATURATING[1])}"] = replicas_of_models
    deployments = [
        {"name": name, "num_replicas": count, "max_ongoing_requests": 5000, "ray_actor_options": {"num_cpus": 0.1}}
        for name, count in replicas.items()
    ]
    limits, streams = {"max_concurrent_requests": 5000}, {"max_logs_per_key": 100_000}
    args = {"models": models, "timeouts": hour, "limits": limits, "streams": streams}
    application_ = {"name": "chatllm", "import_path": application, "args": args, "deployments": deployments}
    return {"proxy_location": "EveryNode", "applications": [application_]}


if __name__ == "__main__":
    main()

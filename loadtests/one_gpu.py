"""All of the load tests for one GPU, in one run of at most twelve minutes.

    python -m loadtests.one_gpu --results out --budget 570   # on a machine with one GPU of 40 GB or more
    python -m loadtests.one_gpu --scripted --budget 340      # the same steps without a GPU, with a scripted model

The model has the shape of Llama-3.1-8B in bfloat16 and random weights, which take the same time; nothing is
downloaded. The scripted model takes as long as that one took on an H200 with 256 answers at once, whatever it is asked:
54 answers a second. What is done, each step only if its time is left, and each with its reports whatever comes of the
others:

    saturation    rates to saturation with one replica, 512 prompt and 128 answer tokens
    overhead      the service beside bare vLLM on the same card, one round (loadtests.bench)
    autoscaling   1 -> 2 replicas on one card (`gpu_memory_utilization: 0.4` each), twice at a rate that one misses
"""

import argparse
import asyncio
import json
import os
import sys
import tarfile
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from loadtests.bare_vllm import EngineOf, NotStarted, bare_server
from loadtests.llama_shape import write_model
from loadtests.sides import Service, ends_with_its_service, new_mark, whole_service

REPOSITORY = Path(__file__).resolve().parents[1]
MODEL = "llama-8b"
PARTS = ("Ingress", "CacheLookup")
BUDGET_S = 700.0
LEFT_FOR_THE_END_S = 20.0
GRACE_S = 20.0
"""For a step that was stopped, to write its report."""
QUEUE = {"max_waiting": 4096, "max_waiting_per_key": 4096}
"""All of the load has one key, which stands for many."""
OVERLOAD = 1.3
"""How many times the highest rate of one replica the autoscaling is tried with: the queue stays within its bounds."""


@dataclass(frozen=True, slots=True)
class Step:
    """What a step takes at most, and the options of its load."""

    limit_s: float
    load: str = ""


GPU = {
    "saturation": Step(160, "--first-rate 8 --steps 6 --step 16 --drain 8 --goal-ttft 1 --goal-tpot 0.05"),
    "overhead": Step(120),
    # A replica starts for about a minute, in the first of the two times that the rate is held.
    "autoscaling": Step(175, "--step 70 --settle 20 --drain 10 --goal-ttft 1 --goal-tpot 0.05"),
}
SCRIPTED = {
    "saturation": Step(85, "--first-rate 32 --steps 4 --step 12 --settle 5 --drain 6 --goal-ttft 1 --goal-tpot 0.05"),
    # The second replica comes after the first of the two times, so that each shows what one and what two answer.
    "autoscaling": Step(155, "--step 50 --settle 15 --drain 20 --goal-ttft 1 --goal-tpot 0.05"),
}


@dataclass(slots=True)
class Budget:
    """The time that is left, and what has come of the steps."""

    ends_at: float
    steps: Mapping[str, Step]
    outcomes: dict[str, str] = field(default_factory=dict[str, str])

    def takes(self, step: str) -> bool:
        """Return whether there is time for a step, and for those after `overhead`; says so if there is not."""
        left_s = self.ends_at - time.monotonic() - LEFT_FOR_THE_END_S
        kept_s = self.steps["autoscaling"].limit_s if step == "overhead" else 0.0
        if left_s >= self.steps[step].limit_s + kept_s:
            return True
        self.outcomes[step] = "skipped"
        needed = f"{self.steps[step].limit_s:.0f} s" + (f", and {kept_s:.0f} s are kept" if kept_s else "")
        print(f"{step}: skipped, {max(0.0, left_s):.0f} s are left and it takes {needed}", flush=True)
        return False

    async def take(self, step: str, do: Callable[[], Awaitable[bool]]) -> None:
        """Do a step if its time is left; whatever fails in it, the next one is tried."""
        if not self.takes(step):
            return
        began = time.monotonic()
        try:
            async with asyncio.timeout(self.steps[step].limit_s + GRACE_S):
                self.outcomes[step] = "done" if await do() else "failed"
        except (NotStarted, OSError, ValueError, LookupError) as error:  # TimeoutError is an OSError
            self.outcomes[step] = "failed"
            print(f"{step}: {type(error).__name__}: {error}", flush=True)
        print(f"{step}: {self.outcomes[step]} after {time.monotonic() - began:.0f} s", flush=True)


def main() -> None:
    """Run the steps; exits with 1 if one of them failed or was skipped."""
    options = _options()
    ends_with_its_service()
    try:
        sys.exit(asyncio.run(one_gpu(options)))
    except NotStarted as error:
        sys.exit(f"error: {error}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=REPOSITORY / "artifacts/one_gpu", help="folder for the reports")
    parser.add_argument("--budget", type=float, default=BUDGET_S, help="seconds for all of it (%(default)s)")
    parser.add_argument("--scripted", action="store_true", help="a scripted model in place of the GPU's, without vLLM")
    return parser.parse_args()


async def one_gpu(options: argparse.Namespace) -> int:
    """Do what there is time for, and return the exit status."""
    options.results.mkdir(parents=True, exist_ok=True)
    budget = Budget(time.monotonic() + options.budget, SCRIPTED if options.scripted else GPU)
    with tempfile.TemporaryDirectory(prefix="chatllm-one-gpu-") as folder:
        write_model(Path(folder) / "model")
        config = Path(folder) / "service.yaml"
        _write_service_file(config, options.scripted, most=1)
        async with whole_service(config) as service:
            print(f"the service is ready after {service.ready_s:.0f} s", flush=True)
            run = Run(service, config, options, budget)
            for step, do in (
                ("saturation", run.saturation),
                ("overhead", run.overhead),
                ("autoscaling", run.autoscaling),
            ):
                if step in budget.steps:
                    await budget.take(step, do)
            _summarize(options.results, service, budget)
    return int(set(budget.outcomes.values()) != {"done"})


def _summarize(results: Path, service: Service, budget: Budget) -> None:
    """Leave what came of each step and, where one failed, the service's logs, of which a request's text is no part."""
    summary = {
        "ready_s": round(service.ready_s, 1),
        "steps": budget.outcomes,
        "highest_rate_per_s": highest_rate(results),
    }
    (results / "one_gpu.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    if "failed" in budget.outcomes.values():
        with tarfile.open(results / "service_logs.tar.gz", "w:gz") as archive:
            archive.add(service.state / "logs", "logs")
    print(json.dumps(summary), flush=True)


def _write_service_file(config: Path, is_scripted: bool, most: int) -> None:
    document = service_file(config.parent / "model", is_scripted, most)
    config.write_text(yaml.safe_dump(document), encoding="utf-8")


def service_file(model: Path, is_scripted: bool, most: int) -> dict[str, Any]:
    """Return a service file with one model of one replica, or of up to `most` by load."""
    engine = {
        "model": str(model),
        "load_format": "dummy",
        "dtype": "bfloat16",
        "max_model_len": 4096,
        "max_num_seqs": 256,
        "gpu_memory_utilization": 0.4,
    }
    scripted = {"kind": "scripted", "prefill_ms": 140, "token_ms": 36, "in_step": True, "slots": 256, "tokens": 4096}
    scripted |= {"context_tokens": 100_000, "load_s": 45}
    arguments = {"id": MODEL, "queue": QUEUE, **(scripted if is_scripted else {"kind": "vllm", "engine": engine})}
    scaling = {
        "min_replicas": 1,
        "max_replicas": most,
        "target_ongoing_requests": 32,
        "upscale_delay_s": 5,
        "downscale_delay_s": 600,
        "look_back_period_s": 15,
    }
    resources = {"num_cpus": 0.1} if is_scripted else {"num_cpus": 1, "num_gpus": 0.5}
    parts = [{"name": name, "num_replicas": 1, "ray_actor_options": {"num_cpus": 0.1}} for name in PARTS]
    deployment = {"name": f"model-{MODEL}", "autoscaling_config": scaling, "max_ongoing_requests": 384}
    return {
        "http_options": {"host": "127.0.0.1"},
        "applications": [
            {
                "name": "chatllm",
                "import_path": "deployments.app:build_app",
                "route_prefix": "/",
                "args": {},
                "deployments": parts,
            },
            {
                "name": f"model-{MODEL}",
                "import_path": "deployments.app:build_model",
                "route_prefix": None,
                "args": arguments,
                "deployments": [{**deployment, "ray_actor_options": resources}],
            },
        ],
    }


def highest_rate(results: Path) -> float | None:
    """Return what the newest report of the saturation found, if any."""
    reports = sorted(results.glob("*-loadtest-saturation.json"))
    return json.loads(reports[-1].read_text(encoding="utf-8"))["highest_rate_per_s"] if reports else None


@dataclass(frozen=True, slots=True)
class Run:
    """The steps, each of which returns whether it left what it is for."""

    service: Service
    config: Path
    options: argparse.Namespace
    budget: Budget

    async def saturation(self) -> bool:
        """Leave a report with the highest rate; whether one was found."""
        return await self._loadtest("saturation") == 0

    async def overhead(self) -> bool:
        """Compare with bare vLLM beside it, in a round of 1, 16 and 64 streams."""
        results = self.options.results
        async with AsyncExitStack() as stack:
            engine = EngineOf.read(self.config)
            bare = await stack.enter_async_context(
                bare_server(engine, results / "bare_vllm.log", {"CHATLLM_BENCH": new_mark()})
            )
            where = ("--url", self.service.url, "--bare-url", bare, "--model", MODEL, "--config", str(self.config))
            return not await self._run(
                "overhead", "loadtests.bench", *where, "--rounds", "1", "--results", str(results)
            )

    async def autoscaling(self) -> bool:
        """Let it scale to two replicas, and ask twice for more than one of them took; whether two met the goal."""
        _write_service_file(self.config, self.options.scripted, most=2)
        if await self._run("autoscaling", "deployments.local.cli", "apply", str(self.config), "--yes"):
            return False
        rate = f"{OVERLOAD * (highest_rate(self.options.results) or 8.0):.3g}"
        return await self._loadtest("autoscaling", "--rates", f"{rate},{rate}") == 0

    async def _loadtest(self, step: str, *more: str) -> int:
        where = ("--url", self.service.url, "--model", MODEL, "--name", step, "--results", str(self.options.results))
        load = self.budget.steps[step].load.split()
        return await self._run(step, "loadtests.openloop", "--lengths", "512/128", *where, *load, *more)

    async def _run(self, step: str, module: str, *arguments: str) -> int:
        """Run a module of the repository against the service for as long as its step may take; return its status."""
        key = {"CHATLLM_API_KEY": self.service.key, "CHATLLM_STATE": str(self.service.state)}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, *arguments, cwd=REPOSITORY, env={**os.environ, **key}
        )
        try:
            return await asyncio.wait_for(process.wait(), self.budget.steps[step].limit_s)
        except TimeoutError:
            print(f"{step}: not done after {self.budget.steps[step].limit_s:.0f} s, stopped", flush=True)
            return 1
        finally:
            await _ended(process)


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Let a process end with what it has, else kill it."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), GRACE_S - 2)
    except TimeoutError:
        process.kill()
        await process.wait()


if __name__ == "__main__":
    main()

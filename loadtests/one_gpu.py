"""All of the load tests for one GPU, in one run of at most twelve minutes.

    python -m loadtests.one_gpu --results out              # on a machine with one GPU of 40 GB or more
    python -m loadtests.one_gpu --scripted --budget 240    # the same steps without a GPU, with a scripted model

The model has the shape of Llama-3.1-8B in bfloat16 and random weights, which take the same time; nothing is
downloaded. What is done, each step only if its time is left:

    saturation    rates to saturation with one replica, 512 prompt and 128 answer tokens
    overhead      the service beside bare vLLM on the same card, one round (loadtests.bench)
    autoscaling   1 -> 2 replicas on one card (`gpu_memory_utilization: 0.4` each), at a rate above what one takes
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from loadtests.bare_vllm import EngineOf, NotStarted, bare_server
from loadtests.sides import Service, ends_with_its_service, new_mark, whole_service

REPOSITORY = Path(__file__).resolve().parents[1]
TOKENIZER = REPOSITORY / "demo_model/weights"
MODEL = "llama-8b"
VOCABULARY = 128_256
LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "torch_dtype": "bfloat16",
    "vocab_size": VOCABULARY,
    "hidden_size": 4096,
    "intermediate_size": 14_336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "hidden_act": "silu",
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500_000.0,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
"""Meta-Llama-3.1-8B's config.json, with a shorter window and without its scaling of positions."""
PARTS = ("Ingress", "CacheLookup")
BUDGET_S = 700.0
LEFT_FOR_THE_END_S = 20.0
SECONDS = {"saturation": 230.0, "overhead": 180.0, "autoscaling": 170.0}
"""What each step takes at most."""


@dataclass(slots=True)
class Budget:
    """The time that is left, and what was skipped for want of it."""

    ends_at: float
    skipped: list[str] = field(default_factory=list[str])

    def takes(self, step: str) -> bool:
        """Return whether there is time for a step; says so if there is not."""
        left_s = self.ends_at - time.monotonic() - LEFT_FOR_THE_END_S
        if left_s >= SECONDS[step]:
            return True
        self.skipped.append(step)
        print(f"{step}: skipped, {max(0.0, left_s):.0f} s are left and it takes {SECONDS[step]:.0f} s", flush=True)
        return False


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
    budget, failed = Budget(time.monotonic() + options.budget), list[str]()
    with tempfile.TemporaryDirectory(prefix="chatllm-one-gpu-") as folder:
        write_model(Path(folder) / "model")
        config = Path(folder) / "service.yaml"
        config.write_text(yaml.safe_dump(service_file(Path(folder) / "model", options.scripted, most=1)))
        async with whole_service(config) as service:
            print(f"the service is ready after {service.ready_s:.0f} s", flush=True)
            if budget.takes("saturation") and not await _saturation(service, options):
                failed.append("saturation")
            if not options.scripted and budget.takes("overhead") and not await _overhead(service, config, options):
                failed.append("overhead")
            if budget.takes("autoscaling"):
                config.write_text(yaml.safe_dump(service_file(Path(folder) / "model", options.scripted, most=2)))
                failed += [] if await _autoscaling(service, config, options) else ["autoscaling"]
    print(f"failed: {', '.join(failed) or 'nothing'}; skipped: {', '.join(budget.skipped) or 'nothing'}")
    return int(bool(failed or budget.skipped))


def write_model(folder: Path) -> None:
    """Write the configuration and a tokenizer of as many tokens; vLLM makes the weights up (`load_format: dummy`)."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(LLAMA), encoding="utf-8")
    settings = (TOKENIZER / "tokenizer_config.json").read_text(encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(settings, encoding="utf-8")
    tokenizer: dict[str, Any] = json.loads((TOKENIZER / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary: dict[str, int] = tokenizer["model"]["vocab"]
    # Random weights say any token: each has to have a text, or nothing would be streamed.
    taken = set(vocabulary.values()) | {token["id"] for token in tokenizer["added_tokens"]}
    for number in range(VOCABULARY):
        if number not in taken:
            vocabulary[f"\u0120w{number}"] = number  # \u0120 is how byte-level BPE writes a space
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")


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
    scripted = {"kind": "scripted", "prefill_ms": 100, "token_ms": 10, "tokens": 4096, "context_tokens": 100_000}
    arguments = {"id": MODEL, **(scripted if is_scripted else {"kind": "vllm", "engine": engine})}
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


async def _saturation(service: Service, options: argparse.Namespace) -> bool:
    """Leave a report with the highest rate; whether one was found."""
    load = [
        "--first-rate",
        "2",
        "--steps",
        "8",
        "--step",
        "20",
        "--drain",
        "8",
        "--goal-ttft",
        "1",
        "--goal-tpot",
        "0.05",
    ]
    return await _loadtest(service, options, "saturation", *load) == 0


async def _autoscaling(service: Service, config: Path, options: argparse.Namespace) -> bool:
    """Let it scale to two replicas, and ask for half as much again as one of them took."""
    if await _run(service, "autoscaling", "-m", "deployments.local.cli", "apply", str(config), "--yes"):
        return False
    rate = 1.5 * (highest_rate(options.results) or 8.0)
    await _loadtest(service, options, "autoscaling", "--rates", f"{rate:.3g}", "--step", "100", "--drain", "20")
    return True


def highest_rate(results: Path) -> float | None:
    """Return what the newest report of the saturation found, if any."""
    reports = sorted(results.glob("*-loadtest-saturation.json"))
    return json.loads(reports[-1].read_text(encoding="utf-8"))["highest_rate_per_s"] if reports else None


async def _overhead(service: Service, config: Path, options: argparse.Namespace) -> bool:
    """Compare with bare vLLM beside it, in a round of 1, 16 and 64 streams."""
    async with AsyncExitStack() as stack:
        engine = EngineOf.read(config)
        log = options.results / "bare_vllm.log"
        bare = await stack.enter_async_context(bare_server(engine, log, {"CHATLLM_BENCH": new_mark()}))
        asked = ("--url", service.url, "--bare-url", bare, "--model", MODEL, "--config", str(config), "--rounds", "1")
        return not await _run(service, "overhead", "-m", "loadtests.bench", *asked, "--results", str(options.results))


async def _loadtest(service: Service, options: argparse.Namespace, step: str, *load: str) -> int:
    where = ("--url", service.url, "--model", MODEL, "--name", step, "--results", str(options.results))
    return await _run(service, step, "-m", "loadtests.openloop", "--lengths", "512/128", *where, *load)


async def _run(service: Service, step: str, *arguments: str) -> int:
    """Run a command of the repository against the service for as long as its step may take; return its status."""
    environment = {**os.environ, "CHATLLM_API_KEY": service.key, "CHATLLM_STATE": str(service.state)}
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, cwd=REPOSITORY, env=environment)
    try:
        return await asyncio.wait_for(process.wait(), SECONDS[step])
    except TimeoutError:
        print(f"{step}: not done after {SECONDS[step]:.0f} s, stopped", flush=True)
        process.terminate()
        await asyncio.wait_for(process.wait(), LEFT_FOR_THE_END_S)
        return 1


if __name__ == "__main__":
    main()

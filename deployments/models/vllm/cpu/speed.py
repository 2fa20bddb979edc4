"""How fast vLLM's engine alone computes a model on this CPU, at several numbers of streams.

    python -m deployments.models.vllm.cpu.speed .chatllm/models/SmolLM2-135M-Instruct  # as the service runs it
    python -m deployments.models.vllm.cpu.speed FOLDER --engine '{"quantization": "int8_cpu"}'
    python -m deployments.models.vllm.cpu.speed FOLDER --plain  # without the service's worker
    python -m deployments.models.vllm.cpu.speed FOLDER --sampling '{"temperature": 0}'

Prints one line: for each width the tokens per second, the time to the first token, and the milliseconds of processor
time that a step takes in the engine's process, which say more than the clock on a machine that does other work. Medians
of the rounds. Run what is to be compared in turn; loadtests/cpu_speed_llama.py is the same for llama.cpp.
"""

import argparse
import asyncio
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

import psutil

SAMPLING = {"temperature": 0.1, "top_p": 0.9, "frequency_penalty": 0.5}
QUESTIONS = (
    "What can one see in Paris in {} days?",
    "Write a story about a fox, a hen and {} eggs in the snow.",
    "Explain how a bicycle with {} gears works, and why.",
    "Write a Python program that adds the first {} primes.",
)


def main() -> None:
    """Measure one engine and print the line."""
    options = _options()
    for name, value in {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_LOGGING_LEVEL": "WARNING", "HF_HUB_OFFLINE": "1"}.items():
        os.environ.setdefault(name, value)
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    asyncio.run(_measure(options))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="folder of the weights")
    parser.add_argument("--engine", type=json.loads, default={}, help="more arguments of vLLM's engine, as JSON")
    parser.add_argument("--sampling", type=json.loads, default=SAMPLING, help="vLLM's sampling parameters, as JSON")
    parser.add_argument("--plain", action="store_true", help="vLLM's own worker")
    parser.add_argument("--streams", default="1,4,16", help="how many answers at a time")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=64, help="tokens of an answer")
    parser.add_argument("--threads", type=int, default=max(1, len(os.sched_getaffinity(0)) - 1))
    return parser.parse_args()


async def _measure(options: argparse.Namespace) -> None:
    began = time.perf_counter()
    load = Load(_engine(options), options.sampling, options.tokens)
    await load.answer()
    ready_s = time.perf_counter() - began
    widths = [int(width) for width in options.streams.split(",")]
    await load.round(max(widths))
    rounds = [{width: await load.round(width) for width in widths} for _ in range(options.rounds)]
    parts = [_described(width, [one[width] for one in rounds]) for width in widths]
    print(f"ready after {ready_s:.0f} s, load {os.getloadavg()[0]:.1f} | {' | '.join(parts)}", flush=True)
    load.engine.shutdown()


def _engine(options: argparse.Namespace) -> Any:
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    from deployments.models.vllm.cpu import WORKER

    arguments: dict[str, Any] = {
        "model": str(options.model),
        "dtype": "bfloat16",
        "enforce_eager": True,
        "distributed_executor_backend": "vllm.v1.executor.uniproc_executor.UniProcExecutor",
        **({} if options.plain else {"worker_cls": WORKER}),
        **options.engine,
    }
    return AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments))


class Load:
    """Answers of a fixed length; no two prompts are the same."""

    def __init__(self, engine: Any, sampling: dict[str, Any], tokens: int) -> None:
        self.engine = engine
        self._sampling = sampling
        self._tokens = tokens
        self._requested = 0

    async def round(self, streams: int) -> tuple[float, float, float]:
        """Return tokens/s, seconds to the first token (median) and seconds of processor time a step."""
        before_s, began = _engine_cpu_s(), time.perf_counter()
        first_s = await asyncio.gather(*(self.answer() for _ in range(streams)))
        took_s = time.perf_counter() - began
        step_s = (_engine_cpu_s() - before_s) / self._tokens
        return streams * self._tokens / took_s, statistics.median(first_s), step_s

    async def answer(self) -> float:
        """Return the seconds to the first token of an answer that is read to its end."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        self._requested += 1
        question = QUESTIONS[self._requested % len(QUESTIONS)].format(self._requested)
        messages = [{"role": "user", "content": question}]
        tokenizer = self.engine.renderer.get_tokenizer()
        prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        kind = RequestOutputKind.DELTA
        wanted = SamplingParams(max_tokens=self._tokens, ignore_eos=True, output_kind=kind, **self._sampling)
        began, first_s = time.perf_counter(), 0.0
        async for _ in self.engine.generate(prompt, wanted, str(self._requested)):
            first_s = first_s or time.perf_counter() - began
        return first_s


def _engine_cpu_s() -> float:
    times = [child.cpu_times() for child in psutil.Process().children(recursive=True)]
    return sum(one.user + one.system for one in times)


def _described(width: int, rounds: list[tuple[float, float, float]]) -> str:
    speed, first_s, step_s = (statistics.median(values) for values in zip(*rounds, strict=True))
    return f"{width}: {speed:.0f} tokens/s, first {first_s * 1e3:.0f} ms, {step_s * 1e3:.1f} ms a step"


if __name__ == "__main__":
    main()

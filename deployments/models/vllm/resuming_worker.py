"""The worker's part of requests that begin in the middle, for vLLM's first model runner (resuming.py). Imports vllm.

That runner keeps the tokens and the random generator of each request itself, and expects those of a preempted one to
be still there. Here they are brought to where they would be.
"""

from typing import Any

import torch
from vllm.v1.worker import gpu_model_runner
from vllm.v1.worker.gpu_input_batch import CachedRequestState, InputBatch

from deployments.models.vllm.resuming import resumed_of

OFFSET_OF_A_DRAW = 4
"""How far one draw for a whole vocabulary moves a CUDA generator, as vLLM itself counts."""


class ResumedState(CachedRequestState):
    """A request's state in the model runner, after the tokens that were generated elsewhere."""

    def __post_init__(self) -> None:
        super().__post_init__()
        resumed = resumed_of(self.sampling_params)
        self.output_token_ids.extend(resumed)
        self.draws_made_elsewhere = len(resumed)


class ResumingBatch(InputBatch):
    """The requests of a step, each with its own generator if it has a seed."""

    def add_request(self, request: CachedRequestState) -> int:
        """Take a request; the generator of one that was begun elsewhere is brought to where it would be."""
        if isinstance(request, ResumedState) and request.generator is not None:
            _advance(request.generator, request.draws_made_elsewhere)
            request.draws_made_elsewhere = 0
        return super().add_request(request)


def _advance(generator: torch.Generator, tokens: int) -> None:
    """Bring a generator to where it is after it has sampled so many tokens."""
    if generator.device.type != "cpu":
        generator.set_offset(generator.get_offset() + OFFSET_OF_A_DRAW * tokens)
        return
    for _ in range(tokens):  # as vLLM's sampler for CPUs draws the seed of each token's noise
        torch.randint(0, 2**31, (1,), generator=generator, dtype=torch.long)


class ResumingWorker:
    """Mixed into vLLM's worker by the engine argument `worker_extension_cls`; to be imported is all that it needs."""


def _install() -> None:
    runner: Any = gpu_model_runner
    runner.CachedRequestState, runner.InputBatch = ResumedState, ResumingBatch


_install()

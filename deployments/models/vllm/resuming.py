"""Requests that begin in the middle: vLLM's scheduler takes them with tokens that were generated elsewhere.

Imports vllm.

To vLLM such a request looks like one that it has preempted itself: its tokens are part of the answer, not of the
prompt. So penalties, `min_tokens`, `max_tokens` and stop conditions count them, a grammar has read them, and what
they need in the KV cache is computed like a prompt. Ids cross with the sampling parameters, which reach the engine's
process and its workers. vLLM's second model runner, which is that of GPUs, rebuilds all of this by itself; the first
one, that of CPUs, needs `resuming_worker.py`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vllm.sampling_params import SamplingParams
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.request import Request, RequestStatus

from deployments.models.vllm.extra_args import RESUMED

if TYPE_CHECKING:
    from vllm.config import VllmConfig

SCHEDULER = "deployments.models.vllm.resuming.ResumingScheduler"
ASYNC_SCHEDULER = "deployments.models.vllm.resuming.AsyncResumingScheduler"
WORKER_EXTENSION = "deployments.models.vllm.resuming_worker.ResumingWorker"


def resumed_of(params: SamplingParams | None) -> list[int]:
    """Return the tokens with which the answer to a request begins."""
    extra: dict[str, Any] | None = params.extra_args if params is not None else None
    return extra.get(RESUMED, []) if extra else []


def let_resume(config: "VllmConfig") -> bool:
    """Have an engine take requests that begin in the middle; False if its settings name a scheduler or worker."""
    scheduler, parallel = config.scheduler_config, config.parallel_config
    if (
        scheduler.scheduler_cls is not None
        or parallel.worker_extension_cls
        or config.model_config.runner_type != "generate"
    ):
        return False
    scheduler.scheduler_cls = ASYNC_SCHEDULER if scheduler.async_scheduling else SCHEDULER
    if not config.use_v2_model_runner:
        parallel.worker_extension_cls = WORKER_EXTENSION
    return True


def can_resume(request: Any) -> bool:
    """Whether the answer to an OpenAI request can go on elsewhere: it is one text, made token by token."""
    if (request.n or 1) != 1 or request.use_beam_search or request.prompt_logprobs is not None:
        return False
    prompt = getattr(request, "prompt", None)
    is_one = not isinstance(prompt, list) or len(prompt) == 1 or isinstance(prompt[0], int)  # pyright: ignore[reportUnknownArgumentType]
    return is_one and not (prompt is not None and request.echo)


class _Resuming(Scheduler):
    """A scheduler whose requests can begin with tokens that were generated elsewhere."""

    def add_request(self, request: Request) -> None:
        """Queue a request, as one that was preempted after the tokens that it brings."""
        resumed = resumed_of(request.sampling_params)
        if resumed and request.request_id not in self.requests:
            request.append_output_token_ids(resumed)
            # Its statistics of the prefill hold for prompts alone: more than the prompt may be in the prefix cache.
            request.prefill_stats = None
        super().add_request(request)

    def _handle_blocked_waiting_request(self, request: Request) -> bool:
        waits = request.status == RequestStatus.WAITING_FOR_STRUCTURED_OUTPUT_GRAMMAR
        is_ready = super()._handle_blocked_waiting_request(request)
        if not (waits and is_ready and request.num_output_tokens):
            return is_ready
        if self.structured_output_manager.accept_tokens(request, list(request.output_token_ids)):
            return True
        request.status = RequestStatus.WAITING_FOR_STRUCTURED_OUTPUT_GRAMMAR
        self.grammar_compile_error_reqs.add(request.request_id)
        return False


class ResumingScheduler(_Resuming):
    """The one for engines that schedule a step after the other."""


class AsyncResumingScheduler(_Resuming, AsyncScheduler):
    """The one for engines that schedule the next step while the last one is computed."""


def is_finished_by(request: Request, tokens: Sequence[int], max_model_len: int) -> bool:
    """Whether an answer of these tokens is complete, by vLLM's own rules; the request then says why."""
    from vllm.v1.core.sched.utils import check_stop

    request.append_output_token_ids(list(tokens))
    return check_stop(request, max_model_len)

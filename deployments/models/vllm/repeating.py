"""The outputs of tokens that were generated elsewhere, as if this engine had made them. Imports vllm.

They go through vLLM's own output processor one by one, so that the detokenizer, the search for stop strings and, behind
it, the parsers of tool calls and reasoning are in the state in which the next token must find them.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from vllm.outputs import RequestOutput
from vllm.v1.engine import EngineCoreOutput, EngineCoreRequest
from vllm.v1.outputs import LogprobsLists
from vllm.v1.request import Request

from deployments.models.vllm.resuming import is_finished_by

if TYPE_CHECKING:
    from vllm.v1.engine.async_llm import AsyncLLM

REPEATED_AT_ONCE = 32
"""Tokens between two of which other streams have their turn."""


class _Outputs:
    """Stands in a request's queue, which would put outputs that nobody has taken yet into one."""

    def __init__(self) -> None:
        self.all: list[Any] = []

    def put(self, output: Any) -> None:
        self.all.append(output)


async def repeated_outputs(
    client: "AsyncLLM", request: EngineCoreRequest, tokens: Sequence[int]
) -> list[RequestOutput]:
    """Return the outputs of `tokens`, by which a request may be complete: the processor then has forgotten it."""
    processor = client.output_processor
    state = processor.request_states[request.request_id]
    queue, outputs = state.queue, _Outputs()
    state.queue = outputs  # type: ignore[assignment]
    engine_request = Request.from_engine_core_request(request, None)
    is_finished = is_finished_by(engine_request, tokens, client.model_config.max_model_len)
    for at, token in enumerate(tokens, 1):
        output = EngineCoreOutput(request.request_id, [token], new_logprobs=_unknown_logprobs(request, token))
        if is_finished and at == len(tokens):
            output.finish_reason, output.stop_reason = engine_request.get_finished_reason(), engine_request.stop_reason
        processor.process_outputs([output])
        if request.request_id not in processor.request_states:
            break
        if not at % REPEATED_AT_ONCE:
            await asyncio.sleep(0)
    state.queue = queue
    return outputs.all


def before(outputs: Sequence[RequestOutput], get_nowait: Callable[[], Any]) -> Callable[[], Any]:
    """Return what gives the next output that is there: these, then those of `get_nowait`."""
    waiting = deque(outputs)
    return lambda: waiting.popleft() if waiting else get_nowait()


def _unknown_logprobs(request: EngineCoreRequest, token: int) -> LogprobsLists | None:
    """Return something in the place of log probabilities, which were sent before: none of it is sent again."""
    params = request.sampling_params
    if params is None or params.num_logprobs is None:
        return None
    return LogprobsLists(np.array([[token]]), np.zeros((1, 1), np.float32), np.ones(1, np.int64))

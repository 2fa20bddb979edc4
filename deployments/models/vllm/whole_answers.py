"""vLLM's whole answers, made and written beside the event loop where they hold log probabilities. Imports vllm.

20 of them for each of 25,600 tokens are half a million objects and 40 MB: in the event
loop they stop every stream of the replica for eight seconds.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from vllm.entrypoints.openai.completion.serving import OpenAIServingCompletion

from deployments.infra.timing import EngineTimes
from deployments.models.protocol import Reply
from deployments.models.vllm.resuming import can_resume
from deployments.models.vllm.token_ids import TokenIds

P = ParamSpec("P")
T = TypeVar("T")


async def beside_if_large(request: Any, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Return what `work` returns for a request, in a thread where its answer holds log probabilities."""
    requested = (getattr(request, name, None) for name in ("logprobs", "top_logprobs", "prompt_logprobs"))
    if not any(value is not None and value is not False for value in requested):
        return work(*arguments, **named)
    return await asyncio.to_thread(work, *arguments, **named)


def reply_of(whole: Any, times: EngineTimes | None = None) -> Reply:
    """Return vLLM's whole answer as it is sent; each choice is written by itself, so that other threads can run."""
    choices, whole.choices = whole.choices, []
    head, _, tail = whole.model_dump_json().encode().partition(b'"choices":[]')
    written = b",".join(choice.model_dump_json().encode() for choice in choices)
    body = b"".join((head, b'"choices":[', written, b"]", tail))
    finish = choices[0].finish_reason if choices else None
    return Reply(body, whole.usage.prompt_tokens, whole.usage.completion_tokens or 0, finish or "", times)


def finished(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that waits for nothing, in whichever thread."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    coroutine.close()
    raise RuntimeError("the coroutine waits for something")


async def again(result: T | None) -> AsyncGenerator[T]:
    """Yield the last result of a generation that has ended, if there was one."""
    if result is not None:
        yield result


@dataclass(frozen=True, slots=True)
class _Unwritten:
    """A whole answer that is still to be made."""

    make: Callable[[], Any]

    def model_dump_json(self) -> str:
        """Return the answer for vLLM's own stream of one event."""
        return self.make().model_dump_json()


class Completion(OpenAIServingCompletion):
    """vLLM's handler of completions, whose whole answers are a `Reply`."""

    def request_output_to_completion_response(self, *arguments: Any, **named: Any) -> Any:
        """Return what makes the answer: vLLM calls this in the event loop."""
        make = super().request_output_to_completion_response
        return _Unwritten(lambda: make(*arguments, **named))

    def completion_stream_generator(self, request: Any, inputs: Any, results: Any, *rest: Any, **named: Any) -> Any:
        """Return the events of a streamed completion, with the ids of their tokens."""
        ids = TokenIds(can_resume(request))
        events = super().completion_stream_generator(request, inputs, ids.noted_pairs(results), *rest, **named)
        return ids.beside(events, is_chat=False)

    async def complete(self, request: Any) -> Any:
        """Return a stream's events, a `Reply`, or vLLM's error."""
        answer: Any = await self.create_completion(request)
        if not isinstance(answer, _Unwritten):
            return answer
        return await beside_if_large(request, lambda: reply_of(answer.make()))

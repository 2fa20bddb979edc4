"""vLLM's chat handler with a short way for plain text, which is most of what a chat service streams.

vLLM builds three pydantic objects for each token and prints them; with a tool
parser configured it parses every delta of every answer too, at a cost that grows
with the answer's length. A request without tools, reasoning, log probabilities or
several choices needs none of it: each event differs from the last in one string.
Anything else goes vLLM's own way, and tests hold the two to the same bytes. Either way the ids of the tokens go
beside the events.
"""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from typing import Any

import orjson
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.chat_completion.serving import OpenAIServingChat
from vllm.entrypoints.serve.engine.protocol import ErrorResponse
from vllm.exceptions import GenerationError
from vllm.outputs import RequestOutput
from vllm.parser.abstract_parser import DelegatingParser

from deployments.infra.timing import EngineTimes
from deployments.models.protocol import Frames, Progress, Reply, packed
from deployments.models.vllm.resuming import can_resume
from deployments.models.vllm.token_ids import TokenIds
from deployments.models.vllm.whole_answers import again, beside_if_large, finished, reply_of

NOT_PLAIN = ("tools", "logprobs", "echo", "return_token_ids", "return_prompt_text", "return_tokens_as_token_ids")
"""Fields of a request that change what an event holds."""

FIRST = b',"logprobs":null,"finish_reason":null}],"prompt_token_ids":null,"prompt_text":null}\n\n'
"""What follows the delta of the first event."""


class PlainTextChat(OpenAIServingChat):
    """vLLM's handler, whose streams of plain text are of `Frames` and end with a `Reply` instead of `[DONE]`."""

    def chat_completion_stream_generator(  # type: ignore[override]
        self,
        request: ChatCompletionRequest,
        result_generator: AsyncIterator[RequestOutput],
        request_id: str,
        model_name: str,
        *rest: Any,
        **named: Any,
    ) -> AsyncGenerator[Any, None]:
        """Return the events of a streamed chat completion, and before them how long its prompt is."""
        resumes = can_resume(request)
        if self._is_plain(request):
            role, fingerprint = self.get_chat_request_role(request), self.system_fingerprint
            details = self.enable_prompt_tokens_details
            return plain_events(result_generator, request_id, model_name, role, fingerprint, details, resumes)
        ids = TokenIds(resumes)
        events = super().chat_completion_stream_generator(
            request, ids.noted(result_generator), request_id, model_name, *rest, **named
        )
        return ids.beside(events, is_chat=True)

    async def chat_completion_full_generator(  # type: ignore[override]
        self,
        request: ChatCompletionRequest,
        result_generator: AsyncIterator[RequestOutput],
        *rest: Any,
        **named: Any,
    ) -> ErrorResponse | Reply:
        """Return a whole chat completion, with the engine's times."""
        last: RequestOutput | None = None
        async for result in result_generator:
            last = result
        whole = super().chat_completion_full_generator(request, again(last), *rest, **named)
        return await beside_if_large(request, _reply, whole, last)

    def _is_plain(self, request: ChatCompletionRequest) -> bool:
        if self.enable_log_outputs or self.enable_per_request_metrics:
            return False
        options = request.stream_options
        if options is None or options.continuous_usage_stats or (request.n or 1) != 1:
            return False
        return _reads_plain_text(self.parser_cls) and not any(getattr(request, name, None) for name in NOT_PLAIN)


def _reply(whole: Coroutine[Any, Any, Any], last: RequestOutput | None) -> ErrorResponse | Reply:
    answer = finished(whole)
    if isinstance(answer, ErrorResponse) or last is None:
        return answer
    return reply_of(answer, times_of(last))


def _reads_plain_text(parser: Any) -> bool:
    """Tell a parser that only looks for tool calls, if there is one at all."""
    return parser is None or (parser.__bases__ == (DelegatingParser,) and parser.reasoning_parser_cls is None)


def times_of(result: RequestOutput) -> EngineTimes | None:
    """Return where the time of a request that has ended went, by the engine's own clock; None if it keeps no stats."""
    stats = result.metrics
    if stats is None or not stats.first_token_ts:
        return None
    return EngineTimes(
        queue=stats.scheduled_ts - stats.queued_ts,
        prefill=stats.first_token_ts - stats.scheduled_ts,
        decode=stats.last_token_ts - stats.first_token_ts,
    )


def _prompt_details(result: RequestOutput) -> dict[str, Any]:
    """Return how many tokens of the prompt the engine knew, as the usage has it; nothing if it does not say."""
    counts = {"cached_tokens": result.num_cached_tokens, "created_cache_tokens": result.num_cache_creation_tokens}
    known = {name: count for name, count in counts.items() if count is not None}
    return {"prompt_tokens_details": known} if known else {}


async def plain_events(
    results: AsyncIterator[RequestOutput],
    request_id: str,
    model_name: str,
    role: str,
    fingerprint: str | None,
    tells_details: bool = False,
    tells_tokens: bool = False,
) -> AsyncGenerator[Progress | Frames | Reply]:
    """Yield the prompt's length, the events of one answer and then the whole of it; an engine's failure is raised."""
    no_tokens = b"" if tells_tokens else None
    head = {"id": request_id, "object": "chat.completion.chunk", "created": int(time.time()), "model": model_name}
    start = b"data: " + orjson.dumps(head)[:-1] + b',"choices":[{"index":0,"delta":'
    before, after = start + b'{"content":', b'},"logprobs":null,"finish_reason":null,"token_ids":null}]}\n\n'
    texts: list[str] = []
    tokens = prompt_tokens = 0
    finish: str | None = None
    stop: int | str | None = None
    has_begun = False
    details: dict[str, Any] = {}
    times: EngineTimes | None = None
    async for result in results:
        if not has_begun:
            has_begun = True
            prompt_tokens = len(result.prompt_token_ids or ())
            details = _prompt_details(result) if tells_details else {}
            yield Progress(prompt_tokens, 0)
            delta = orjson.dumps({"role": role, "content": ""})
            yield Frames(start + delta + FIRST, no_tokens)
        output = result.outputs[0]
        if output.finish_reason == "error":
            raise GenerationError("Internal server error")
        if not (output.text or output.token_ids or tokens):
            continue  # a part of a prompt that is read in parts
        texts.append(output.text)
        tokens += len(output.token_ids)
        ids = packed(output.token_ids) if tells_tokens else None
        if output.finish_reason is None:
            yield Frames(before + orjson.dumps(output.text) + after, ids)
            continue
        finish, stop, times = output.finish_reason, output.stop_reason, times_of(result)
        end = orjson.dumps({"finish_reason": finish, "stop_reason": stop, "token_ids": None})[1:]
        yield Frames(before + orjson.dumps(output.text) + b'},"logprobs":null,' + end + b"]}\n\n", ids)
    choice = {"index": 0, "message": {"role": role, "content": "".join(texts)}, "logprobs": None}
    choice |= {"finish_reason": finish} if stop is None else {"finish_reason": finish, "stop_reason": stop}
    usage = {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens + tokens, "completion_tokens": tokens}
    completion = {**head, "object": "chat.completion", "usage": usage | details, "choices": [choice]}
    named = {} if fingerprint is None else {"system_fingerprint": fingerprint}
    yield Reply(orjson.dumps(completion | named), prompt_tokens, tokens, finish or "", times)

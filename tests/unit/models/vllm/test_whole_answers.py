"""Whole answers with many log probabilities say what vLLM's own say, and do not occupy the event loop."""

import asyncio
import warnings
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from deployments.infra.heap import freeze_heap
from deployments.models.protocol import Reply
from tests.stalls import watched_loop
from tests.unit.models.vllm.test_plain_text import chat, metadata, request

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # vLLM's own imports
    from vllm.entrypoints.openai.chat_completion.serving import OpenAIServingChat
    from vllm.entrypoints.openai.completion.protocol import CompletionRequest
    from vllm.entrypoints.openai.completion.serving import OpenAIServingCompletion
    from vllm.exceptions import GenerationError
    from vllm.logprobs import Logprob
    from vllm.outputs import CompletionOutput, RequestOutput

    from deployments.models.vllm.plain_text import PlainTextChat
    from deployments.models.vllm.whole_answers import Completion, finished

MAX_S = 0.1
"""Both answers take a third of a second to make and more."""


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1_700_000_000.0)


def result(choices: int, tokens: int, top: int, finish: str = "length") -> RequestOutput:
    """Return an engine's result whose tokens each have `top` log probabilities."""
    known = {n: Logprob(logprob=-float(n), rank=n + 1, decoded_token=f'"{n}') for n in range(top)}
    outputs = [
        CompletionOutput(
            index=at,
            text='"choices":[] ' * tokens,
            token_ids=[0] * tokens,
            cumulative_logprob=None,
            logprobs=[known] * tokens,
            finish_reason=finish,
            stop_reason=None,
        )
        for at in range(choices)
    ]
    return RequestOutput("id", "prompt", [1, 2, 3], None, outputs, finished=True)


async def once(value: Any) -> AsyncGenerator[Any]:
    yield value


async def chatted(of: type[OpenAIServingChat], final: RequestOutput) -> Any:
    asked = request(stream=False, stream_options=None, logprobs=True, top_logprobs=20, n=len(final.outputs))
    return await of.chat_completion_full_generator(
        chat(return_tokens_as_token_ids=False), asked, once(final), "chatcmpl-1", "guide", [], None, metadata()
    )


def completing(of: type[OpenAIServingCompletion]) -> Any:
    handler = object.__new__(of)
    vars(handler).update(
        enable_prompt_tokens_details=False,
        enable_per_request_metrics=False,
        return_tokens_as_token_ids=False,
        system_fingerprint=None,
        request_logger=None,
    )
    return handler


COMPLETION = CompletionRequest(model="guide", prompt="hi", logprobs=20, max_tokens=4)


async def completed(final: RequestOutput) -> Any:
    handler = completing(Completion)
    made = handler.request_output_to_completion_response([final], COMPLETION, "cmpl-1", 7, "guide", None, metadata())
    handler.create_completion = lambda _: asyncio.sleep(0, made)
    return await handler.complete(COMPLETION)


async def test_a_chat_with_log_probabilities_is_vllm_s() -> None:
    final = result(3, 4, 20)
    ours, theirs = await chatted(PlainTextChat, final), await chatted(OpenAIServingChat, final)
    assert ours.body == theirs.model_dump_json().encode()
    assert (ours.prompt_tokens, ours.completion_tokens, ours.finish_reason) == (3, 12, "length")


async def test_a_completion_with_log_probabilities_is_vllm_s() -> None:
    final, handler = result(3, 4, 20), completing(OpenAIServingCompletion)
    arguments = ([final], COMPLETION, "cmpl-1", 7, "guide", None, metadata())
    theirs = handler.request_output_to_completion_response(*arguments)
    ours = await completed(final)
    assert isinstance(ours, Reply) and ours.body == theirs.model_dump_json().encode()
    assert (ours.prompt_tokens, ours.completion_tokens, ours.finish_reason) == (3, 12, "length")


@pytest.mark.parametrize("of", ["chat", "completion"])
async def test_many_log_probabilities_do_not_occupy_the_loop(of: str) -> None:
    final = result(32, 100, 20) if of == "chat" else result(128, 300, 20)
    freeze_heap()  # as a replica does before it serves
    with watched_loop() as occupied:
        ours = await asyncio.create_task(chatted(PlainTextChat, final) if of == "chat" else completed(final))
    assert len(orjson.loads(ours.body)["choices"]) == len(final.outputs)
    assert occupied.longest_s < MAX_S, occupied.callback


@pytest.mark.parametrize("of", ["chat", "completion"])
async def test_an_engine_s_failure_is_raised(of: str) -> None:
    final = result(1, 4, 20, "error")
    with pytest.raises(GenerationError):
        await (chatted(PlainTextChat, final) if of == "chat" else completed(final))


async def test_vllm_s_errors_and_streams_pass() -> None:
    handler, answer = completing(Completion), SimpleNamespace()
    handler.create_completion = lambda _: asyncio.sleep(0, answer)
    assert await handler.complete(COMPLETION) is answer


def test_a_coroutine_that_waits_is_not_run_in_a_thread() -> None:
    with pytest.raises(RuntimeError):
        finished(asyncio.sleep(0))

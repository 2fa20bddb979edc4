"""The short way of plain text gives the same bytes as vLLM's own handler."""

import asyncio
import warnings
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from deployments.infra.timing import EngineTimes
from deployments.models.assembly import DONE, assemble, is_usage_event, payloads
from deployments.models.protocol import Progress, Reply, packed, unpacked

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # vLLM's own imports
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.entrypoints.openai.chat_completion.serving import OpenAIServingChat
    from vllm.entrypoints.serve.engine.protocol import ErrorResponse
    from vllm.outputs import CompletionOutput, RequestOutput
    from vllm.parser.abstract_parser import DelegatingParser
    from vllm.v1.metrics.stats import RequestStateStats

    from deployments.models.vllm.plain_text import PlainTextChat

TEXTS = ["Hel", "lo", "", ' "quoted"\n', "\u2028 \U0001f600 ünïcode", "\x00\x07", "</script>", "end"]


def chat(**changes: Any) -> PlainTextChat:
    """Return a handler with the settings that its streams read, and no engine."""
    handler = object.__new__(PlainTextChat)
    settings = {
        "parser_cls": None,
        "enable_auto_tools": False,
        "enable_force_include_usage": False,
        "_include_reasoning_tokens_details": False,
        "response_role": "assistant",
        "enable_log_outputs": False,
        "request_logger": None,
        "enable_prompt_tokens_details": False,
        "enable_per_request_metrics": False,
        "system_fingerprint": None,
        **changes,
    }
    vars(handler).update(settings)
    return handler


def request(**changes: Any) -> ChatCompletionRequest:
    body = {"model": "guide", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    return ChatCompletionRequest.model_validate({**body, "stream_options": {"include_usage": True}, **changes})


STATS = RequestStateStats(queued_ts=10.0, scheduled_ts=10.5, first_token_ts=12.0, last_token_ts=15.0)


async def results(
    texts: list[str],
    finish: str | None = "stop",
    stop: int | str | None = None,
    stats: RequestStateStats | None = STATS,
    cached: int | None = None,
) -> AsyncGenerator[Any]:
    for position, text in enumerate(texts):
        is_last = position == len(texts) - 1
        output = CompletionOutput(
            index=0,
            text=text,
            token_ids=[position],
            cumulative_logprob=None,
            logprobs=None,
            finish_reason=finish if is_last else None,
            stop_reason=stop if is_last else None,
        )
        yield RequestOutput("id", "prompt", [1, 2, 3], None, [output], is_last, stats, num_cached_tokens=cached)


async def events(handler: OpenAIServingChat, own: bool, texts: list[str], **ending: Any) -> list[Any]:
    of = OpenAIServingChat if own else PlainTextChat
    stream = of.chat_completion_stream_generator(
        handler, request(), results(texts, **ending), "chatcmpl-1", "guide", [], None, SimpleNamespace()
    )
    return [event async for event in stream]


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1_700_000_000.0)


@pytest.mark.parametrize("fingerprint", [None, "vllm-0.32-abc"])
@pytest.mark.parametrize("ending", [{}, {"finish": "length"}, {"stop": "\n"}, {"stop": 7}], ids=str)
def test_the_events_are_vllms_own(ending: dict[str, Any], fingerprint: str | None) -> None:
    handler = chat(system_fingerprint=fingerprint)
    theirs = [event.encode() for event in asyncio.run(events(handler, True, TEXTS, **ending))]
    prompt, *ours, reply = asyncio.run(events(handler, False, TEXTS, **ending))
    assert prompt == Progress(3, 0)
    assert theirs.pop() == DONE
    assert is_usage_event(theirs[-1])
    assert [frame.data for frame in ours] == theirs[:-1]
    assert [unpacked(frame.tokens) for frame in ours] == [[], *([number] for number in range(len(TEXTS)))]
    assert isinstance(reply, Reply)
    assert orjson.loads(reply.body) == assemble(payloads(b"".join(theirs)))
    assert (reply.prompt_tokens, reply.completion_tokens) == (3, len(TEXTS))


@pytest.mark.parametrize("cached", [None, 0, 2])
def test_the_usage_tells_which_tokens_the_engine_knew(cached: int | None) -> None:
    handler = chat(enable_prompt_tokens_details=True)
    theirs = [event.encode() for event in asyncio.run(events(handler, True, TEXTS, cached=cached))]
    *_, reply = asyncio.run(events(handler, False, TEXTS, cached=cached))
    usage = orjson.loads(reply.body)["usage"]
    assert usage == assemble(payloads(b"".join(theirs[:-1])))["usage"]
    assert (usage.get("prompt_tokens_details") or {}).get("cached_tokens") == cached


def test_an_empty_answer_is_vllms_own() -> None:
    theirs = [event.encode() for event in asyncio.run(events(chat(), True, [""]))]
    _, *ours, reply = asyncio.run(events(chat(), False, [""]))
    assert [frame.data for frame in ours] == theirs[:-2]
    assert orjson.loads(reply.body)["choices"][0]["message"]["content"] == ""


def test_vllms_own_way_tells_the_length_of_the_prompt_first() -> None:
    asked = request(stream_options={"include_usage": True, "continuous_usage_stats": True})
    stream = PlainTextChat.chat_completion_stream_generator(
        chat(), asked, results(TEXTS), "chatcmpl-1", "guide", [], None, SimpleNamespace()
    )

    async def collected() -> list[Any]:
        return [event async for event in stream]

    prompt, first, second, *rest = asyncio.run(collected())
    assert prompt == Progress(3, 0)
    assert first.text.startswith("data: {") and len(rest) >= len(TEXTS)
    assert (first.tokens, second.tokens) == (b"", packed([0]))
    assert not any(isinstance(event, Progress) for event in rest)


@pytest.mark.parametrize(("stats", "times"), [(STATS, EngineTimes(0.5, 1.5, 3.0)), (None, None)], ids=["stats", "none"])
def test_the_reply_tells_the_engines_times(stats: RequestStateStats | None, times: EngineTimes | None) -> None:
    *_, streamed = asyncio.run(events(chat(), False, TEXTS, stats=stats))
    assert streamed.times == times


@pytest.mark.parametrize(("stats", "times"), [(STATS, EngineTimes(0.5, 1.5, 3.0)), (None, None)], ids=["stats", "none"])
def test_a_whole_answer_is_vllms_own_with_the_engines_times(
    stats: RequestStateStats | None, times: EngineTimes | None
) -> None:
    def whole(of: type[OpenAIServingChat]) -> Any:
        asked = results(["Hello"], stats=stats)
        answer = of.chat_completion_full_generator(
            chat(), request(stream=False, stream_options=None), asked, "chatcmpl-1", "guide", [], None, metadata()
        )
        return asyncio.run(answer)

    ours = whole(PlainTextChat)
    assert ours.body == whole(OpenAIServingChat).model_dump_json().encode()
    assert (ours.prompt_tokens, ours.completion_tokens, ours.finish_reason, ours.times) == (3, 1, "stop", times)


def test_an_error_of_a_whole_answer_stays_vllms_own() -> None:
    async def nothing() -> AsyncGenerator[Any]:
        for never in ():
            yield never

    answer = PlainTextChat.chat_completion_full_generator(
        chat(), request(stream=False, stream_options=None), nothing(), "chatcmpl-1", "guide", [], None, metadata()
    )
    assert isinstance(asyncio.run(answer), ErrorResponse)


def metadata() -> Any:
    return SimpleNamespace(final_usage_info=None)


class OnlyTools(DelegatingParser):
    """What vLLM makes of `tool_parser` alone."""

    reasoning_parser_cls = None


class Reasoning(DelegatingParser):
    """What vLLM makes of a reasoning parser."""

    reasoning_parser_cls = object  # pyright: ignore[reportAssignmentType]


TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


@pytest.mark.parametrize(
    ("settings", "asked", "is_plain"),
    [
        ({}, {}, True),
        ({"parser_cls": OnlyTools}, {}, True),
        ({"parser_cls": Reasoning}, {}, False),
        ({"enable_log_outputs": True}, {}, False),
        ({"enable_per_request_metrics": True}, {}, False),
        ({"enable_prompt_tokens_details": True}, {}, True),
        ({}, {"tools": [TOOL]}, False),
        ({}, {"n": 2}, False),
        ({}, {"logprobs": True}, False),
        ({}, {"return_token_ids": True}, False),
        ({}, {"echo": True}, False),
        ({}, {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}, False),
    ],
    ids=str,
)
def test_only_plain_text_goes_the_short_way(settings: dict[str, Any], asked: dict[str, Any], is_plain: bool) -> None:
    assert chat(**settings)._is_plain(request(**asked)) is is_plain

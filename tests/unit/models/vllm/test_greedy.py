"""Greedy decoding as OpenAI allows it, made of what vLLM takes."""

import warnings
from typing import Any

import orjson
import pytest

from deployments.models.assembly import assemble, payloads, sse
from deployments.models.protocol import Failed, Frames, Reply
from deployments.models.vllm.greedy import repeated, settle_greedy

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # vLLM's own imports
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest

HELLO = [{"role": "user", "content": "hello"}]
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


@pytest.mark.parametrize(
    ("asked", "times"),
    [
        ({"top_p": 0}, 1),
        ({"top_p": 0.0, "temperature": 1.5, "n": 3}, 3),
        ({"n": 2, "temperature": 0}, 2),
        ({"n": 128, "temperature": 0.0}, 128),
        ({"n": 2, "temperature": 0.5}, 1),
        ({"n": 2}, 1),
        ({"n": 1, "temperature": 0, "top_p": 0.5}, 1),
    ],
)
def test_vllm_takes_what_is_left(asked: dict[str, Any], times: int) -> None:
    body = {"messages": HELLO, **asked}
    assert settle_greedy(body) == times
    params = ChatCompletionRequest.model_validate(body).to_sampling_params(8, {})
    assert params.n * times == asked.get("n", 1)
    if times > 1 or asked.get("top_p") == 0:
        assert params.temperature < 1e-5, "it is greedy"


def test_beams_are_left_as_they_are() -> None:
    body: dict[str, Any] = {"n": 2, "temperature": 0, "use_beam_search": True}
    assert settle_greedy(body) == 1
    assert body["n"] == 2


def choice(index: int, text: str, **more: Any) -> dict[str, Any]:
    return {"index": index, "delta": {"content": text}, "logprobs": None, "finish_reason": None, **more}


def test_each_choice_streams_the_whole_answer_and_its_tokens_count() -> None:
    events = [{"choices": [choice(0, "a")]}, {"choices": [choice(0, "b", finish_reason="stop")], "usage": USAGE}]
    sent = repeated(Frames(b"".join(map(sse, events))), 3)
    assert isinstance(sent, Frames)
    whole = assemble(payloads(sent.data))
    assert [(c["index"], c["message"]["content"], c["finish_reason"]) for c in whole["choices"]] == [
        (0, "ab", "stop"),
        (1, "ab", "stop"),
        (2, "ab", "stop"),
    ]
    assert whole["usage"] == {"prompt_tokens": 3, "completion_tokens": 6, "total_tokens": 9}
    closing = repeated(Frames(sse({"choices": [], "usage": USAGE})), 2)
    assert isinstance(closing, Frames)
    assert payloads(closing.data)[0]["usage"]["completion_tokens"] == 4


def test_the_choices_of_a_prompt_stand_together() -> None:
    whole = {"choices": [{"index": 0, "text": "a"}, {"index": 1, "text": "b"}], "usage": USAGE}
    reply = repeated(Reply(orjson.dumps(whole), 3, 2, "stop"), 2)
    assert isinstance(reply, Reply)
    assert reply.completion_tokens == 4
    body = orjson.loads(reply.body)
    assert [(c["index"], c["text"]) for c in body["choices"]] == [(0, "a"), (1, "a"), (2, "b"), (3, "b")]
    assert body["usage"]["total_tokens"] == 7


def test_a_failure_stays_one() -> None:
    failure = Failed(ValueError())  # type: ignore[arg-type]
    assert repeated(failure, 2) is failure

"""Completions are cached as chats are: keyed with all that counts, put together, and replayed."""

import json
from typing import Any

import pytest

from deployments.cache.entry import CacheEntry
from deployments.cache.key import NOT_IN_KEY, cache_key
from deployments.cache.replay import fresh_body, fresh_frames
from deployments.models.assembly import assemble, payloads, sse
from tests.unit.cache.test_key import CHANGES_THE_ANSWER

# vLLM's CompletionRequest, beside what its chat requests have; see test_key.py for what to do with a new one.
MORE_FIELDS = frozenset({"prompt", "prompt_embeds", "suffix"})
HEAD = {"id": "cmpl-1", "object": "text_completion", "created": 5, "model": "guide"}


def logprobs(token: str, offset: int) -> dict[str, Any]:
    return {"text_offset": [offset], "tokens": [token], "token_logprobs": [-0.5], "top_logprobs": [{token: -0.5}]}


CHOICES: list[dict[str, Any]] = [
    {"index": 0, "text": "one ", "logprobs": logprobs("one ", 0), "finish_reason": None},
    {"index": 1, "text": "uno", "logprobs": None, "finish_reason": "stop", "stop_reason": "x"},
    {"index": 0, "text": "two", "logprobs": logprobs("two", 4), "finish_reason": "length"},
]
USAGE = {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4}
FRAMES = b"".join(sse({**HEAD, "choices": [choice]}) for choice in CHOICES)
WHOLE = assemble([*payloads(FRAMES), {**HEAD, "choices": [], "usage": USAGE}])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # importing vLLM and torch warns of much that is not ours
def test_every_field_of_vllms_request_has_been_considered() -> None:
    from vllm.entrypoints.openai.completion.protocol import CompletionRequest

    assert set(CompletionRequest.model_fields) - NOT_IN_KEY.keys() - CHANGES_THE_ANSWER == MORE_FIELDS


def test_the_same_fields_ask_two_endpoints_for_two_answers() -> None:
    request = {"prompt": "x", "temperature": 0}
    assert cache_key("t", "m", request) != cache_key("t", "m", request, "completion")
    assert cache_key("t", "m", request, "completion") != cache_key("t", "m", {**request, "prompt": "y"}, "completion")


def test_events_become_the_whole_answer() -> None:
    assert (WHOLE["object"], WHOLE["usage"]) == ("text_completion", USAGE)
    first, second = WHOLE["choices"]
    assert (first["text"], first["finish_reason"], first["logprobs"]["text_offset"]) == ("one two", "length", [0, 4])
    assert (second["text"], second["stop_reason"], second["logprobs"]) == ("uno", "x", None)


@pytest.mark.parametrize("frames", [FRAMES, b""])
def test_a_replay_says_the_same_under_a_new_id(frames: bytes) -> None:
    entry = CacheEntry(json.dumps(WHOLE, separators=(",", ":")).encode(), frames, 100.0)
    body = json.loads(fresh_body(entry, "cmpl-2", 9))
    events = payloads(fresh_frames(entry, "cmpl-2", 9, include_usage=True))
    assert {(event["id"], event["object"], event["created"]) for event in events} == {("cmpl-2", "text_completion", 9)}
    assert assemble(events) == body == {**WHOLE, "id": "cmpl-2", "created": 9}
    assert events[-1]["choices"] == [] and events[-1]["usage"] == USAGE

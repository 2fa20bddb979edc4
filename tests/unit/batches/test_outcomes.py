"""A line's answer goes into the output as it was sent, and what it has used is found in it."""

import json
import time
from typing import Any

import orjson
import pytest

from deployments.batches.outcomes import answered
from deployments.batches.types import ClaimedLine, LineAnswer, Tokens

LINE = ClaimedLine("batch_1", 1, 1, "ann", "key_1", "/v1/embeddings", "id-1", b"{}", 1)


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}, Tokens(2, 0, 3, 0)),
        (
            {
                "prompt_tokens": 2,
                "completion_tokens": 3,
                "prompt_tokens_details": {"cached_tokens": 1},
                "completion_tokens_details": {"reasoning_tokens": 2},
            },
            Tokens(2, 1, 3, 2),
        ),
        (
            {
                "input_tokens": 4,
                "output_tokens": 5,
                "input_tokens_details": {"cached_tokens": 3},
                "output_tokens_details": {"reasoning_tokens": 1},
            },
            Tokens(4, 3, 5, 1),
        ),
        ({"prompt_tokens": 7, "prompt_tokens_details": None}, Tokens(7, 0, 0, 0)),
        (None, Tokens()),
        ("many", Tokens()),
    ],
)
def test_what_an_answer_has_used_is_found(usage: Any, tokens: Tokens) -> None:
    body = {"data": [1, "ü\n"], "usage": usage}
    outcome = answered(LINE, LineAnswer(200, "req_1", json.dumps(body, indent=1).encode()))
    assert outcome.tokens == tokens
    assert outcome.text.count(b"\n") == 1
    assert json.loads(outcome.text)["response"] == {"status_code": 200, "request_id": "req_1", "body": body}
    assert answered(LINE, LineAnswer(500, "req_1", json.dumps(body).encode())).tokens == Tokens()


def test_what_is_no_json_becomes_null() -> None:
    for body in (b"", b"<html>", b'{"usage": '):
        assert json.loads(answered(LINE, LineAnswer(200, "req_1", body)).text)["response"]["body"] is None


def test_a_large_answer_is_not_made_into_objects() -> None:
    body = orjson.dumps(
        {
            "data": [{"embedding": [at / 7919 for at in range(1024)]} for _ in range(1024)],
            "usage": {"prompt_tokens": 5},
        }
    )
    began = time.perf_counter()
    orjson.dumps({"body": orjson.loads(body)})
    objects_s = time.perf_counter() - began
    took = []
    for _ in range(3):
        began = time.perf_counter()
        outcome = answered(LINE, LineAnswer(200, "req_1", body))
        took.append(time.perf_counter() - began)
    assert outcome.tokens.input == 5
    assert min(took) < objects_s / 2, (min(took), objects_s, len(body))

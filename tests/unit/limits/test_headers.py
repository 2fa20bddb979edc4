"""What a client is told of its limits."""

from datetime import UTC, datetime
from typing import Any

import pytest

from deployments.errors import ExceedsLimits, InsufficientQuota, TooManyRequests
from deployments.keys.types import UNLIMITED, KeyLimits
from deployments.limits.estimate import Weight, prompt_tokens, weight_of
from deployments.limits.headers import duration, excess, headers, next_month, refusal
from deployments.limits.store import Limit, Verdict
from deployments.models.protocol import Endpoint


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.02, "20ms"),
        (0.0001, "1ms"),
        (0.9999, "1s"),
        (1, "1s"),
        (1.5, "1.5s"),
        (59.9999, "1m0s"),
        (360, "6m0s"),
        (3661.25, "1h1m1.25s"),
        (-1, "0s"),
    ],
)
def test_durations_are_written_as_openai_writes_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_headers_stand_for_the_limits_that_there_are() -> None:
    verdict = Verdict(None, 0, 59, 1.0, 149_984, 0.36)
    assert headers(UNLIMITED, verdict) == headers(KeyLimits(concurrent_requests=1, tokens_per_month=1), verdict) == []
    assert dict(headers(KeyLimits(60, 150_000), verdict)) == {
        b"x-ratelimit-limit-requests": b"60",
        b"x-ratelimit-limit-tokens": b"150000",
        b"x-ratelimit-remaining-requests": b"59",
        b"x-ratelimit-remaining-tokens": b"149984",
        b"x-ratelimit-reset-requests": b"1s",
        b"x-ratelimit-reset-tokens": b"360ms",
    }


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ("requests_per_minute", "60 requests per minute is reached. Please try again in 2.5s."),
        ("tokens_per_minute", "1000 tokens per minute is reached: this request may use about 77. Please try again in"),
        ("concurrent_requests", "2 requests at once"),
    ],
)
def test_a_refusal_names_its_limit_and_the_wait(limit: Limit, words: str) -> None:
    error = refusal(KeyLimits(60, 1000, 2, 5000), Verdict(limit, 2.5), 77)
    assert type(error) is TooManyRequests
    assert (error.status, error.code, error.retry_after_s) == (429, "rate_limit_exceeded", 2.5)
    assert words in str(error)


def test_a_spent_budget_says_when_the_next_month_begins() -> None:
    error = refusal(KeyLimits(tokens_per_month=5000), Verdict("tokens_per_month"), 77)
    assert isinstance(error, InsufficientQuota)
    assert (error.status, error.code) == (429, "insufficient_quota")
    assert error.retry_after_s is not None
    then = datetime.now(UTC).timestamp() + error.retry_after_s
    assert datetime.fromtimestamp(round(then), UTC).strftime("%d %H:%M:%S") == "01 00:00:00"
    assert "5000" in str(error) and "77" in str(error)


def test_months_follow_each_other_over_the_year() -> None:
    assert next_month(datetime(2026, 12, 31, 23, 59, tzinfo=UTC)) == datetime(2027, 1, 1, tzinfo=UTC)
    assert next_month(datetime(2026, 1, 1, tzinfo=UTC)) == datetime(2026, 2, 1, tzinfo=UTC)
    assert next_month(datetime(2026, 11, 22, tzinfo=UTC)) == datetime(2026, 12, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("limits", "weight", "words", "param"),
    [
        (KeyLimits(concurrent_requests=8), Weight(3, 4, 5), ("12 answers", "3 prompts × n = 4", "limit is 8"), "n"),
        (KeyLimits(concurrent_requests=1), Weight(2), ("2 answers", "2 prompts × n = 1", "limit is 1"), None),
        (KeyLimits(None, 300), Weight(128, 1, 200), ("25625 tokens", "128 prompts", "300 tokens per minute"), None),
    ],
)
def test_what_is_too_large_for_ever_says_how_much_it_is_and_may_not_be_tried_again(
    limits: KeyLimits, weight: Weight, words: tuple[str, ...], param: str | None
) -> None:
    error = excess(limits, weight, weight.tokens(100))
    assert isinstance(error, ExceedsLimits)
    assert (error.status, error.retry_after_s, error.may_succeed_later, error.param) == (429, None, False, param)
    assert all(word in str(error) for word in words)


@pytest.mark.parametrize(
    ("limits", "weight"),
    [
        (UNLIMITED, Weight(128, 1, 10**6)),
        (KeyLimits(None, 10**6, 12), Weight(3, 4, 5)),
        (KeyLimits(None, 300, 1), Weight(1, 1, 10**6)),  # one answer cannot be sent in parts
        (KeyLimits(concurrent_requests=1), Weight(2048, is_whole=True)),
    ],
)
def test_what_fits_or_cannot_be_sent_in_parts_is_not_refused_for_its_size(limits: KeyLimits, weight: Weight) -> None:
    assert excess(limits, weight, weight.tokens(100)) is None


CHAT = {"messages": []}


@pytest.mark.parametrize(
    ("endpoint", "request_", "sequences", "tokens"),
    [
        ("chat", CHAT, 1, 50 + 7),
        ("chat", {**CHAT, "max_tokens": 5, "n": 3}, 3, 50 + 15),
        ("chat", {**CHAT, "n": 128}, 128, 50 + 128 * 7),
        ("chat", {**CHAT, "max_completion_tokens": 9, "max_tokens": 5}, 1, 50 + 9),
        ("chat", {**CHAT, "max_tokens": 5, "n": 4, "use_beam_search": True}, 4, 50 + 20),
        ("completion", {"prompt": "a", "max_tokens": 16}, 1, 50 + 16),
        ("completion", {"prompt": ["a"] * 128, "max_tokens": 200}, 128, 50 + 128 * 200),
        ("completion", {"prompt": ["a", "b"], "max_tokens": 16, "n": 3, "best_of": 3}, 6, 50 + 6 * 16),
        ("completion", {"prompt": "a", "max_tokens": 16, "best_of": 5}, 5, 50 + 5 * 16),
        ("completion", {"prompt": "a", "max_tokens": 0, "echo": True}, 1, 50),
        ("completion", {"prompt": [7, 8, 9], "max_tokens": 1}, 1, 3 + 1),
        ("completion", {"prompt": [[7, 8, 9], [7]], "max_tokens": 2, "n": 2}, 4, 4 + 8),
        ("embedding", {"input": ["a", "b", "c"]}, 3, 50),
        ("embedding", {"input": [[1, 2], [3]]}, 2, 3),
        ("tokenize", {"prompt": "a long text"}, 1, 0),
        ("detokenize", {"tokens": [1, 2, 3]}, 1, 0),
    ],
)
def test_a_request_weighs_its_sequences_and_their_tokens(
    endpoint: Endpoint, request_: dict[str, Any], sequences: int, tokens: int
) -> None:
    weight = weight_of(endpoint, request_, assumed_answer_tokens=7)
    assert (weight.sequences, weight.tokens(200)) == (sequences, tokens)


def test_a_prompt_is_estimated_by_its_bytes() -> None:
    assert [prompt_tokens(count) for count in (0, 1, 4, 5)] == [0, 1, 1, 2]
    assert Weight().tokens(0) == 1

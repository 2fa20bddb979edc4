"""What a client is told of its limits."""

from datetime import UTC, datetime

import pytest

from deployments.errors import InsufficientQuota, TooManyRequests
from deployments.keys.types import UNLIMITED, KeyLimits
from deployments.limits.estimate import answer_tokens, prompt_tokens
from deployments.limits.store import Limit, Verdict
from deployments.limits.wording import duration, headers, next_month, refusal


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


def test_estimates() -> None:
    assert [prompt_tokens(count) for count in (0, 1, 4, 5)] == [0, 1, 1, 2]
    assert answer_tokens({}) == answer_tokens({"max_tokens": None}) == 0
    assert answer_tokens({"max_tokens": 5, "n": 3}) == 15
    assert answer_tokens({"max_completion_tokens": 7, "max_tokens": 5}) == 7
    assert answer_tokens({"max_output_tokens": 9}) == 9

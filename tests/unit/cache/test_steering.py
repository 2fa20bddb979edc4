"""HTTP's words for the cache, and what they allow."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.cache.steering import WORDS, CacheControl, bypass_reason, describe, parsed

GREEDY, SAMPLED = {"temperature": 0}, {"temperature": 0.7}


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", CacheControl()),
        ("no-store", CacheControl(no_store=True)),
        ("No-Cache , max-age=60", CacheControl(no_cache=True, max_age_s=60)),
        ("max-age=0", CacheControl(max_age_s=0)),
        ('max-age="5", only-if-cached', CacheControl(only_if_cached=True, max_age_s=5)),
        ("max-age=soon", CacheControl(max_age_s=0)),
        ("max-age", CacheControl(max_age_s=0)),
        ("max-age=-1", CacheControl(max_age_s=0)),
        ("max-age=" + "9" * 5000, CacheControl(max_age_s=2**31)),
        ("no-transform, max-stale=7, private", CacheControl()),
    ],
)
def test_directives(header: str, expected: CacheControl) -> None:
    assert parsed(header) == expected


@given(st.text(max_size=200))
def test_no_header_fails(header: str) -> None:
    parsed(header)


@given(st.builds(CacheControl, st.booleans(), st.booleans(), st.booleans(), st.none() | st.integers(0, 2**31)))
def test_what_is_kept_as_a_header_is_read_as_the_same(control: CacheControl) -> None:
    assert parsed(control.header) == control


@pytest.mark.parametrize(
    ("request_", "mode", "header", "reason"),
    [
        (GREEDY, "deterministic", "", ""),
        ({"seed": 1}, "deterministic", "", ""),
        (SAMPLED, "deterministic", "", "sampled"),
        ({}, "deterministic", "", "sampled"),
        (SAMPLED, "deterministic", "max-age=60", ""),
        (SAMPLED, "all", "", ""),
        (GREEDY, "off", "", "model"),
        (GREEDY, "off", "max-age=60", "model"),
        (GREEDY, "all", "no-store", "no_store"),
        ({**GREEDY, "kv_transfer_params": {}}, "all", "max-age=60", "side_effects"),
    ],
)
def test_what_may_be_cached(request_: dict[str, object], mode: str, header: str, reason: str) -> None:
    assert bypass_reason(request_, mode, parsed(header)) == reason


def test_every_reason_has_words() -> None:
    assert all(WORDS.values())
    assert describe("redis_connection") == describe("breaker_open") == "the cache cannot be reached"
    assert describe("") == ""

"""One replica's figures: right, of a fixed size, and cheap."""

import sys
import time
from typing import Any

from deployments.chat.summary import Summary
from deployments.errors import ModelLoading, TooManyRequests
from deployments.metrics.buckets import BUCKET_S, BUCKETS, Bucket, unpack
from deployments.metrics.faults import KEPT
from deployments.metrics.faults import unpack as unpack_faults
from deployments.metrics.recorder import Recorder
from tests.unit.metrics.clocks import Clock


def asked(recorder: Recorder, status: int = 200, took_s: float = 0.5, **more: Any) -> None:
    """Let one request begin and end."""
    summary = Summary(**{"model": "quick", "cache": "MISS", **more})
    recorder.began()
    recorder.ended("req_1", "key_1", summary, status, took_s)


def by_number(recorder: Recorder) -> dict[int, Bucket]:
    return {bucket.number: bucket for bucket in map(unpack, recorder.buckets())}


def test_a_request_is_counted_where_it_ended() -> None:
    clock = Clock()
    recorder = Recorder(clock)
    asked(recorder, first_token_s=0.1, prompt_tokens=3, completion_tokens=5)
    clock.seconds += BUCKET_S
    asked(recorder, 499, cache="HIT", first_token_s=0.1, completion_tokens=7)
    first, second = by_number(recorder).values()
    assert (first.number, second.number, first.peak) == (200, 201, 1)
    counts = first.models["quick"]
    assert (counts.statuses, counts.results) == ({200: 1}, {"MISS": 1})
    assert (counts.prompt_tokens, counts.output_tokens, counts.reused_tokens) == (3, 5, 0)
    assert sum(counts.first_token.values()) == sum(counts.whole.values()) == 1
    counts = second.models["quick"]
    assert (counts.output_tokens, counts.reused_tokens) == (0, 7)
    assert counts.first_token == {}  # not the model's


def test_what_runs_on_is_seen_in_the_buckets_in_between() -> None:
    clock = Clock()
    recorder = Recorder(clock)
    recorder.began()
    recorder.began()
    clock.seconds += 3 * BUCKET_S
    recorder.ended("req_1", "key_1", Summary(), 200, 1.0)
    clock.seconds += 3 * BUCKET_S
    assert {number: bucket.peak for number, bucket in by_number(recorder).items()} == dict(
        zip(range(200, 207), (2, 2, 2, 2, 1, 1, 1), strict=True)
    )


def test_an_idle_time_leaves_nothing() -> None:
    clock = Clock()
    recorder = Recorder(clock)
    asked(recorder)
    clock.seconds += 100 * BUCKET_S
    assert sorted(by_number(recorder)) == [200, 300]


def test_only_an_hour_is_kept_in_the_same_memory() -> None:
    clock = Clock()
    recorder = Recorder(clock)

    def run(hours: int) -> int:
        for _ in range(hours * BUCKETS):
            for status, took_s in ((200, 0.02), (200, 1.7), (429, 0.001), (503, 20.0)):
                asked(recorder, status, took_s, first_token_s=took_s / 3, completion_tokens=100)
            clock.seconds += BUCKET_S
        return sum(map(sys.getsizeof, recorder._packed))

    after_an_hour = run(1)
    assert after_an_hour < 300 * BUCKETS
    assert run(2) <= after_an_hour * 1.05  # numbers grow by some digits
    assert len(recorder.buckets()) <= BUCKETS + 1
    assert len(recorder.unpublished()) <= BUCKETS + 2


def test_errors_are_kept_by_whose_they_are_and_no_more_than_fifty_each() -> None:
    recorder = Recorder(Clock())
    asked(recorder, 503, failure=ModelLoading())
    for _ in range(200):
        asked(recorder, 429, failure=TooManyRequests())
    asked(recorder, 499)
    asked(recorder, 200)
    kept = unpack_faults(recorder.faults())
    assert len(kept) == 1 + KEPT
    assert (kept[0].status, kept[0].code, kept[0].model) == (503, "model_loading", "quick")
    assert {(fault.status, fault.code) for fault in kept[1:]} == {(429, "rate_limit_exceeded")}
    assert (kept[0].request_id, kept[0].key_id) == ("req_1", "key_1")


def test_only_what_is_new_is_published() -> None:
    clock = Clock()
    recorder = Recorder(clock)
    asked(recorder)
    recorder.published(first := recorder.unpublished())
    assert list(first) == [str(200 % BUCKETS)]
    clock.seconds += BUCKET_S
    recorder.published(second := recorder.unpublished())
    assert set(second) == {str(200 % BUCKETS), str(201 % BUCKETS)}  # the first one is over, and perhaps fuller
    asked(recorder, 500)
    third = recorder.unpublished()
    assert set(third) == {str(201 % BUCKETS), "faults"}
    asked(recorder, 502)  # while the third is on its way
    recorder.published(third)
    assert set(recorder.unpublished()) == {str(201 % BUCKETS), "faults"}
    recorder.publish_all()
    assert set(recorder.unpublished()) == {str(200 % BUCKETS), str(201 % BUCKETS), "faults"}


def test_a_request_costs_less_than_20_microseconds() -> None:
    recorder = Recorder()
    summary = Summary("quick", "MISS", first_token_s=0.05, prompt_tokens=10, completion_tokens=100)

    def cost_s(times: int = 5000) -> float:
        began = time.thread_time()
        for _ in range(times):
            recorder.began()
            recorder.ended("req_1", "key_1", summary, 200, 0.3)
        return (time.thread_time() - began) / times

    assert min(cost_s() for _ in range(5)) < 20e-6

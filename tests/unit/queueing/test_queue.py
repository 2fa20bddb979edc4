"""The queue of one model: who starts, who waits, who is refused, and what they are told. Time is passed in."""

from contextlib import suppress

import pytest

from deployments.errors import Overloaded, TooManyRequests
from deployments.queueing.job import Job
from deployments.queueing.order import Entry
from deployments.queueing.queue import PATIENCE_S, Bounds, FairQueue

BOUNDS = Bounds()


def job(key_id: str = "a", **fields: object) -> Job:
    return Job(key_id, **{"prompt_tokens": 100, "answer_tokens": 50, **fields})  # type: ignore[arg-type]


def full(capacity: int = 4, bounds: Bounds = BOUNDS) -> FairQueue:
    queue = FairQueue(capacity, bounds)
    for _ in range(capacity):
        assert queue.enter(job("busy"), 0.0) is None
    return queue


def waiting(queue: FairQueue, key_id: str = "a", now: float = 0.0, **fields: object) -> Entry:
    entry = queue.enter(job(key_id, **fields), now)
    assert entry is not None
    return entry


def drained(queue: FairQueue, seconds: float, per_s: float, now: float = 0.0) -> float:
    """Let a running job end and the next start, `per_s` times a second; return the time after that."""
    for _ in range(round(seconds * per_s)):
        now += 1 / per_s
        queue.release(job("busy"))
        queue.next(now)
    return now


def test_a_job_starts_at_once_while_there_is_room_and_then_waits_its_turn() -> None:
    queue = full(2)
    entry = waiting(queue)
    assert queue.next(0.0) is None
    queue.release(job("busy"))
    assert queue.next(1.0) is entry
    assert queue.waiting == 0


def test_a_key_with_nothing_running_finds_a_spare_place() -> None:
    queue = FairQueue(64)
    for _ in range(62):
        assert queue.enter(job("flood"), 0.0) is None
    waiting(queue, "flood")
    light = waiting(queue, "light")
    assert queue.next(0.0) is light
    assert queue.next(0.0) is None


def test_one_bound_is_the_keys_and_one_is_everybodys() -> None:
    queue = full(4, Bounds(waiting=6, waiting_per_key=4))
    for _ in range(4):
        waiting(queue, "a")
    with pytest.raises(TooManyRequests):
        queue.enter(job("a"), 0.0)
    for _ in range(2):
        waiting(queue, "b")
    with pytest.raises(Overloaded):
        queue.enter(job("c"), 0.0)


def test_batch_jobs_have_what_is_left_and_leave_places_free() -> None:
    queue = FairQueue(8)
    for _ in range(7):
        assert queue.enter(job("batch", priority="batch"), 0.0) is None
    entry = waiting(queue, "batch", priority="batch")
    assert queue.next(0.0) is None
    queue.slots.release(job("batch"))
    interactive = [waiting(queue, "a"), waiting(queue, "b")]
    started = [queue.next(0.0), queue.next(0.0)]
    assert set(started) == set(interactive)
    queue.slots.release(job("a"))
    queue.slots.release(job("b"))
    assert queue.next(1.0) is entry


def test_batch_jobs_never_starve() -> None:
    queue = full(8)
    batch = waiting(queue, "batch", priority="batch")
    now = 0.0
    while now < PATIENCE_S + 1:
        now += 1.0
        waiting(queue, "a", now)
        queue.release(job("busy"))
        if queue.next(now) is batch:
            return
    raise AssertionError("the batch job has not started")


def test_a_request_whose_client_will_have_left_is_refused_at_once() -> None:
    queue = full()
    for at in range(100):
        waiting(queue, f"key-{at}")
    now = drained(queue, 5, 10)
    with pytest.raises(Overloaded) as refused:
        queue.enter(job("key-99", deadline_s=0.01, created=now), now)
    assert refused.value.retry_after_s and refused.value.retry_after_s >= 1
    assert queue.enter(job("key-99", deadline_s=60.0, created=now), now)


def test_a_retry_at_the_promised_time_finds_room_though_others_come() -> None:
    queue = full(4, Bounds(waiting=40, waiting_per_key=1_000))
    for at in range(40):
        waiting(queue, f"key-{at}")
    now = 0.0
    for _ in range(30):  # ten end in a second, and ten come
        now = drained(queue, 0.1, 10, now)
        waiting(queue, "others", now)
    with pytest.raises(Overloaded) as refused:
        queue.enter(job("patient"), now)
    assert refused.value.retry_after_s == 1.0
    due = now + refused.value.retry_after_s
    while now < due:
        now = drained(queue, 0.1, 10, now)
        for _ in range(3):
            with suppress(Overloaded):
                queue.enter(job("others"), now)
    assert queue.enter(job("patient"), now) is not None


def test_who_is_refused_later_is_told_to_come_later() -> None:
    queue = full(4, Bounds(waiting=40, waiting_per_key=1_000))
    for at in range(40):
        waiting(queue, f"key-{at}")
    now = 0.0
    for _ in range(30):
        now = drained(queue, 0.1, 10, now)
        waiting(queue, "others", now)
    told: list[float] = []
    for at in range(100):
        with pytest.raises(Overloaded) as refused:
            queue.enter(job(f"new-{at}"), now)
        assert refused.value.retry_after_s
        told.append(refused.value.retry_after_s)
    assert told == sorted(told)
    assert told[-1] == pytest.approx(10, abs=2)


def test_a_waiting_job_is_told_its_position_and_about_how_long() -> None:
    queue = full(4)
    entries = [waiting(queue, "a") for _ in range(60)]
    now = drained(queue, 2, 10)
    notice = queue.notice(entries[-1], now)
    assert notice.position == 40
    assert notice.wait_s == pytest.approx(4, rel=0.25)
    assert str(notice) == f"waiting in the queue, position 40, about {round(notice.wait_s or 0)} s"


def test_the_length_of_answers_is_learnt_by_key() -> None:
    queue = full()
    for _ in range(50):
        queue.settle(job("short"), 0.0, 100, 10)
        queue.settle(job("long"), 0.0, 100, 1_000)
    assert queue.lengths.expected("short") == pytest.approx(10, rel=0.3)
    assert queue.lengths.expected("long") == pytest.approx(1_000, rel=0.3)


def test_a_wide_batch_job_leaves_the_places_of_others_free_until_it_has_waited_long() -> None:
    queue = FairQueue(16)
    for _ in range(8):
        assert queue.enter(job("busy", priority="batch"), 0.0) is None
    wide = waiting(queue, "wide", priority="batch", sequences=7)
    assert queue.next(0.0) is None
    assert queue.next(PATIENCE_S + 1.0) is wide
    assert not queue.slots.has_batch_room(job(sequences=1))
    for _ in range(8):
        queue.release(job("busy"))
    queue.release(wide.job)
    assert queue.enter(job("wider", priority="batch", sequences=40), 0.0) is None, "alone it may start"

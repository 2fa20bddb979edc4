import asyncio

import pytest

from deployments.infra.breaker import Breaker, BreakerOpen


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def breaker(clock):
    return Breaker(threshold=3, backoff_s=1.0, max_backoff_s=4.0, clock=clock)


def fail(breaker: Breaker) -> None:
    with pytest.raises(OSError), breaker.attempt():
        raise OSError


def refused(breaker: Breaker) -> bool:
    try:
        with breaker.attempt():
            return False
    except BreakerOpen:
        return True


def test_it_opens_after_failures_in_a_row_only(breaker):
    for _ in range(5):
        fail(breaker)
        fail(breaker)
        assert not refused(breaker)
    for _ in range(3):
        fail(breaker)
    assert refused(breaker)


def test_after_the_back_off_one_trial_decides(breaker, clock):
    for _ in range(3):
        fail(breaker)
    clock.now = 0.9
    assert refused(breaker)
    clock.now = 1.0
    with breaker.attempt():
        assert refused(breaker), "a second trial at the same time"
    assert not refused(breaker)


def test_the_back_off_doubles_up_to_its_maximum_and_starts_anew_after_success(breaker, clock):
    for _ in range(3):
        fail(breaker)
    for wait_s in (1.0, 2.0, 4.0, 4.0):
        clock.now += wait_s - 0.01
        assert refused(breaker)
        clock.now += 0.01
        fail(breaker)
    clock.now += 4.0
    assert not refused(breaker)
    for _ in range(3):
        fail(breaker)
    clock.now += 1.0
    assert not refused(breaker)


def test_a_cancelled_trial_leaves_room_for_the_next(breaker, clock):
    for _ in range(3):
        fail(breaker)
    clock.now = 1.0
    with pytest.raises(asyncio.CancelledError), breaker.attempt():
        raise asyncio.CancelledError
    assert not refused(breaker)

"""Who is held, how long, and what is said meanwhile, by a clock that only the test moves."""

import pytest

from deployments.errors import ModelLoading
from deployments.models.holding import RETRY_AFTER_S, HoldingRoom


class World:
    """A model whose replica and estimate the test decides."""

    def __init__(self) -> None:
        self.now = 100.0
        self.runs = False
        self.left_s: float | None = None
        self.room = HoldingRoom("it", lambda: self.runs, lambda: self.left_s, lambda: self.now)


@pytest.fixture
def world() -> World:
    return World()


def test_a_place_is_there_until_it_is_closed(world: World) -> None:
    first, second = world.room.enter(2, 300), world.room.enter(2, 300)
    with pytest.raises(ModelLoading, match="one too many: 2 wait already"):
        world.room.enter(2, 300)
    first.close()
    first.close()
    assert world.room.held == 1
    with world.room.enter(2, 300):
        assert world.room.held == 2
    second.close()
    assert world.room.held == 0


def test_every_change_of_how_many_are_held_is_told() -> None:
    told: list[int] = []
    room = HoldingRoom("it", lambda: False, lambda: None, tell=told.append)
    with room.enter(2, 300), room.enter(2, 300), pytest.raises(ModelLoading):
        room.enter(2, 300)
    assert told == [0, 1, 2, 1, 0]


@pytest.mark.parametrize(("hold_s", "wait_s", "left_s"), [(300, None, 300), (300, 20, 20), (10, 20, 10)])
def test_a_request_waits_as_long_as_both_allow(world: World, hold_s: float, wait_s: float, left_s: float) -> None:
    hold = world.room.enter(1, hold_s, wait_s)
    assert hold.left_s() == left_s
    world.now += left_s - 1
    hold.check()
    world.now += 1
    with pytest.raises(ModelLoading, match="as long as it may"):
        hold.check()


def test_a_replica_ends_the_waiting_however_long_it_was(world: World) -> None:
    hold = world.room.enter(1, 5)
    world.now += 60
    world.runs = True
    hold.check()
    assert hold.left_s() is None and hold.notice() is None


@pytest.mark.parametrize(("hold_s", "max_held", "wait_s"), [(300, 1, 0), (0, 1, None), (300, 0, None)])
def test_who_does_not_wait_is_told_when_to_come_again(
    world: World, hold_s: float, max_held: int, wait_s: float | None
) -> None:
    with pytest.raises(ModelLoading) as refused:
        world.room.enter(max_held, hold_s, wait_s)
    assert refused.value.retry_after_s == RETRY_AFTER_S
    world.left_s = 40.4
    with pytest.raises(ModelLoading, match="about 40 s more") as refused:
        world.room.enter(max_held, hold_s, wait_s)
    assert refused.value.retry_after_s == 40.4
    assert world.room.held == 0


def test_the_notice_has_the_time_where_it_is_known(world: World) -> None:
    hold = world.room.enter(1, 300)
    assert hold.notice() == "waiting for a replica"
    world.left_s = 40.4
    assert hold.notice() == "waiting for a replica, about 40 s"
    world.left_s = 0.0
    assert hold.notice() == "waiting for a replica, about 1 s"

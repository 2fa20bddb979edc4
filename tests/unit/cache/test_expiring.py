from hypothesis import given
from hypothesis import strategies as st

from deployments.cache.expiring import ExpiringMap


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_value_is_there_until_its_time_is_over():
    clock = Clock()
    held = ExpiringMap[str](10_000, clock)
    held.put("key", "value", 5, ttl_s=2)
    clock.now = 1.9
    assert held.get("key") == "value"
    clock.now = 2.0
    assert held.get("key") is None
    assert (len(held), held.held_bytes) == (0, 0)


def test_what_nobody_asks_for_goes_when_its_time_is_over():
    clock = Clock()
    held = ExpiringMap[int](10_000, clock)
    for number in range(3):
        held.put(f"{number}", number, 100, ttl_s=2 + number)
    clock.now = 3.0
    held.put("new", 3, 100, ttl_s=2)
    assert len(held) == 2
    assert [held.get(key) for key in ("2", "new")] == [2, 3]


def test_the_least_recently_used_goes_first():
    held = ExpiringMap[int](10_000)
    for number in range(8):
        held.put(f"{number}", number, 1000, ttl_s=60)
    assert held.get("0") == 0
    held.put("8", 8, 1000, ttl_s=60)
    assert [number for number in range(9) if held.get(f"{number}") is not None] == [0, 2, 3, 4, 5, 6, 7, 8]


def test_one_large_value_does_not_push_out_all_others():
    held = ExpiringMap[int](10_000)
    held.put("small", 1, 10, ttl_s=60)
    held.put("large", 2, 2_000, ttl_s=60)
    assert (held.get("small"), held.get("large")) == (1, None)


def test_a_value_that_became_too_large_does_not_leave_the_old_one():
    held = ExpiringMap[int](10_000)
    held.put("key", 1, 10, ttl_s=60)
    held.put("key", 2, 9_000, ttl_s=60)
    assert held.get("key") is None


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 900)), max_size=50))
def test_the_weight_is_always_that_of_what_is_held(puts):
    held = ExpiringMap[int](5_000)
    for key, size in puts:
        held.put(key, size, size, ttl_s=60)
        assert held.held_bytes <= 5_000
    assert held.held_bytes == sum((held.get(key) or 0) + 201 for key in "abcdef" if held.get(key) is not None)
    assert held.discard_prefix("") >= 0
    assert (len(held), held.held_bytes) == (0, 0)

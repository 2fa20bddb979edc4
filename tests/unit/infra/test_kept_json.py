"""JSON that is held takes about as much memory as it has bytes."""

import tracemalloc

import orjson
import pytest

from deployments.infra.heap import kept_json


@pytest.mark.parametrize("size", [0, 100, 5_000, 300_000])
def test_it_is_the_same_json_in_memory_of_its_own_size(size: int) -> None:
    value = {"messages": [{"role": "user", "content": "a" * size}]}
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        held = [kept_json(value) for _ in range(20)]
        took = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert held[0] == orjson.dumps(value)
    assert took < 20 * (len(held[0]) + 64) + 4_096

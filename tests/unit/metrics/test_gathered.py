"""Counts reach Ray added up, once a second, and none is lost."""

import asyncio
from typing import Any

import pytest

from deployments.metrics import gathered
from deployments.metrics.gathered import GatheredMetrics


class Recorded:
    """A counter or a gauge that remembers what it was told."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def inc(self, value: float, tags: dict[str, str]) -> None:
        self.calls.append((value, tags))

    def set(self, value: float, tags: dict[str, str]) -> None:
        self.calls.append((value, tags))


async def test_counts_of_the_same_tags_are_told_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathered, "FLUSH_S", 0.05)
    metrics, requests, running = GatheredMetrics(), Recorded(), Recorded()
    for number in range(100):
        metrics.count(requests, model="one")  # type: ignore[arg-type]
        metrics.level(running, number)  # type: ignore[arg-type]
    metrics.count(requests, 3, model="other")  # type: ignore[arg-type]

    assert requests.calls == []
    await asyncio.sleep(0.2)

    assert requests.calls == [(100, {"model": "one"}), (3, {"model": "other"})]
    assert running.calls == [(99, {})]


async def test_what_was_told_is_not_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathered, "FLUSH_S", 0.05)
    metrics, requests = GatheredMetrics(), Recorded()
    metrics.count(requests, model="one")  # type: ignore[arg-type]
    metrics.flush()
    await asyncio.sleep(0.1)
    metrics.count(requests, model="one")  # type: ignore[arg-type]
    await asyncio.sleep(0.2)

    assert requests.calls == [(1, {"model": "one"})] * 2


def test_without_an_event_loop_it_is_told_when_asked() -> None:
    metrics, requests = GatheredMetrics(), Recorded()
    metrics.count(requests, 2, model="one")  # type: ignore[arg-type]
    metrics.flush()

    assert requests.calls == [(2, {"model": "one"})]

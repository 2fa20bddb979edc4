"""Whose turn it is: shares of tokens, weights, corrections, and who comes first."""

from collections import Counter

import pytest

from deployments.queueing.job import Job
from deployments.queueing.order import Entry, FairOrder


def push(order: FairOrder, key_id: str, cost: float = 100.0, jobs: int = 1, weight: int = 1) -> list[Entry]:
    entries = [Entry(Job(key_id, weight), cost) for _ in range(jobs)]
    for entry in entries:
        order.push(entry)
    return entries


def spent(order: FairOrder, tokens: float) -> Counter[str]:
    """Return what each key has got once so many tokens are given out."""
    found: Counter[str] = Counter()
    while sum(found.values()) < tokens and (entry := order.pop(0.0)):
        found[entry.job.key_id] += round(entry.cost)
    return found


def test_keys_share_tokens_and_not_requests() -> None:
    order = FairOrder()
    push(order, "short", 100, 2_000)
    push(order, "long", 2_000, 100)
    found = spent(order, 100_000)
    assert found["short"] == pytest.approx(found["long"], rel=0.05)


def test_weights_share_in_proportion() -> None:
    order = FairOrder()
    push(order, "one", 300, 2_000, weight=1)
    push(order, "three", 300, 2_000, weight=3)
    found = spent(order, 200_000)
    assert found["three"] == pytest.approx(3 * found["one"], rel=0.05)


def test_a_key_that_comes_waits_for_no_backlog() -> None:
    order = FairOrder()
    push(order, "flood", 100, 1_000)
    spent(order, 5_000)
    push(order, "light")
    assert spent(order, 1)["light"]


def test_a_key_that_comes_again_and_again_is_served_no_more_than_its_share() -> None:
    order, found = FairOrder(), Counter[str]()
    push(order, "flood", 400, 1_000)
    waiting = 0
    for _ in range(400):
        if not waiting:
            push(order, "sly", 400)
            waiting = 1
        entry = order.pop(0.0)
        assert entry
        found[entry.job.key_id] += 1
        waiting -= entry.job.key_id == "sly"
    assert found["sly"] <= 1.4 * found["flood"]


def test_what_a_job_used_beyond_its_estimate_is_paid_later() -> None:
    order, found = FairOrder(), Counter[str]()
    push(order, "honest", 100, 4_000)
    push(order, "liar", 100, 4_000)
    while sum(found.values()) < 200_000 and (entry := order.pop(0.0)):
        used = 100 if entry.job.key_id == "honest" else 400
        order.charge(entry.job.key_id, used - entry.cost)
        found[entry.job.key_id] += used
    assert found["liar"] == pytest.approx(found["honest"], rel=0.1)


def test_a_debt_outlives_a_flow_that_runs_empty() -> None:
    order = FairOrder()
    push(order, "other", 400, 50)
    push(order, "debtor", 400)
    assert spent(order, 1_000)["debtor"]
    order.charge("debtor", 6_000)
    while order.flow("debtor"):
        order.pop(0.0)
    push(order, "debtor", 400)
    assert spent(order, 4_000)["debtor"] == 0


def test_nothing_is_owed_once_nobody_waits() -> None:
    order = FairOrder()
    push(order, "debtor", 100_000)
    assert order.pop(0.0)
    order.charge("debtor", 1_000_000)
    push(order, "other", 100, 10)
    push(order, "debtor", 100)
    assert spent(order, 300)["debtor"]


def test_a_job_that_leaves_is_not_served() -> None:
    order = FairOrder()
    gone, stays = push(order, "a", jobs=2)
    order.remove(gone, 0.0)
    assert order.pop(0.0) is stays
    assert order.pop(0.0) is None
    assert len(order) == 0


def test_only_allowed_keys_start_where_not_all_may() -> None:
    order = FairOrder()
    push(order, "flood", 100, 10)
    light = push(order, "light")[0]
    assert order.pop(0.0, lambda key: key == "light") is light
    assert order.pop(0.0, lambda key: key == "light") is None
    assert len(order) == 10


@pytest.mark.parametrize("cost", [1.0, 100.0, 50_000.0])
def test_all_that_was_pushed_comes_out(cost: float) -> None:
    order = FairOrder()
    for key in range(50):
        push(order, str(key), cost * (key + 1), key + 1, weight=key % 3 + 1)
    total = len(order)
    assert sum(1 for _ in range(total + 5) if order.pop(0.0)) == total

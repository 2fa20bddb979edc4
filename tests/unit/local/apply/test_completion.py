"""A change is complete once the new replicas run, whatever the old ones still have to say."""

from types import SimpleNamespace
from typing import Any

import pytest

from deployments.local.apply import rollout
from deployments.local.apply.completion import SETTLED_S, Completed
from deployments.local.apply.plan import Change

RESTART = Change("chatllm", "restart", replaced=("Ingress",))
IN_PLACE = Change("chatllm", "in place")


def deployment(*replicas: tuple[str, str], status: str = "UPDATING", target: int = 1) -> dict[str, Any]:
    told = [{"replica_id": name, "state": state} for name, state in replicas]
    return {"status": status, "target_num_replicas": target, "replicas": told}


CASES = {
    "old ones finish": (RESTART, deployment(("old", "STOPPING"), ("new", "RUNNING")), True),
    "not begun": (RESTART, deployment(("old", "RUNNING")), False),
    "not begun, and called healthy": (RESTART, deployment(("old", "RUNNING"), status="HEALTHY"), False),
    "one of two": (RESTART, deployment(("old", "RUNNING"), ("o", "STOPPING"), ("new", "RUNNING"), target=2), False),
    "starting": (RESTART, deployment(("old", "STOPPING"), ("new", "STARTING")), False),
    "too few": (RESTART, deployment(("o", "STOPPING"), ("new", "RUNNING"), target=2), False),
    "in place": (IN_PLACE, deployment(("older", "STOPPING"), ("old", "RUNNING")), True),
    "in place, under way": (IN_PLACE, deployment(("older", "STOPPING"), ("old", "UPDATING")), False),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_complete_once_new_replicas_run(case: str) -> None:
    change, ingress, is_complete = CASES[case]
    now = [0.0]
    complete = Completed({"old", "o", "older"}, lambda: now[0])
    found = {"Ingress": ingress, "CacheLookup": deployment(("old", "RUNNING"), status="HEALTHY")}
    assert not complete.is_true_of(change, found, False), "Serve begins a moment after it has taken a change"
    now[0] += SETTLED_S
    assert complete.is_true_of(change, found, False) is is_complete


def test_an_application_that_runs_is_complete_once_the_old_replicas_are_gone() -> None:
    complete = Completed({"old"})
    assert not complete.is_true_of(RESTART, {"Ingress": deployment(("old", "RUNNING"), status="HEALTHY")}, True)
    assert not complete.is_true_of(RESTART, {"Ingress": deployment(status="HEALTHY")}, True)
    assert not complete.is_true_of(RESTART, {}, True)
    assert complete.is_true_of(RESTART, {"Ingress": deployment(("new", "RUNNING"), status="HEALTHY")}, True)
    assert complete.is_true_of(IN_PLACE, {"Ingress": deployment(("old", "RUNNING"), status="HEALTHY")}, True)


@pytest.mark.parametrize("bound", ["ENDING_S", "timeout_s"])
def test_a_removal_is_not_waited_for_until_the_last_answer_has_ended(
    monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    monkeypatch.setattr(rollout, "POLL_S", 0)
    monkeypatch.setattr(rollout, "ENDING_S", 0.1 if bound == "ENDING_S" else 60)

    class Shrinking:
        def read(self) -> Any:
            return SimpleNamespace(applications={"cloud": {"status": "DELETING", "deployments": {}}})

    said: list[str] = []
    timeout_s = 0.1 if bound == "timeout_s" else 60
    rollout.follow(Shrinking(), [Change("cloud", "remove")], timeout_s, said.append)  # type: ignore[arg-type]
    assert said == ["cloud: its answers end"]

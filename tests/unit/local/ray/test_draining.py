"""The Ray process lets answers end: how long it waits, and that it never waits in vain."""

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Self

import pytest
import ray.serve
from ray.serve.exceptions import DeploymentUnavailableError
from ray.serve.schema import DeploymentStatusOverview

from deployments.infra.ray import key_value
from deployments.local.ray import draining
from deployments.local.ray.draining import drain


class Ingress:
    """A handle whose replicas say these numbers one after the other, or fail; the last one again and again."""

    def __init__(self, *said: list[int] | Exception) -> None:
        self.said = list(said)
        self.asked: list[str] = []

    def broadcast(self, method: str) -> Self:
        self.asked.append(method)
        return self

    async def results_async(self) -> list[int]:
        if self.asked[-1] == "leave":
            return [0]
        said = self.said.pop(0) if len(self.said) > 1 else self.said[0]
        if isinstance(said, Exception):
            raise said
        return said


Drained = Callable[..., tuple[Ingress, list[int]]]


@pytest.fixture
def drained(monkeypatch: pytest.MonkeyPatch) -> Drained:
    def run(*said: list[int] | Exception, within_s: float = 30, stopping: tuple[int, ...] = (0,)) -> Any:
        handle, told, left = Ingress(*said), list[int](), list(stopping)
        monkeypatch.setattr(draining, "LOOK_S", 0.01)
        monkeypatch.setattr(draining, "LATE_S", 0.01)
        monkeypatch.setattr(draining, "_stopping", lambda _: left.pop(0) if len(left) > 1 else left[0])
        monkeypatch.setattr(key_value, "put", lambda *_: None)
        monkeypatch.setattr(ray.serve, "get_deployment_handle", lambda *_: handle)
        drain("chatllm", time.time() + within_s, told.append)
        return handle, told

    return run


def test_it_waits_until_no_answer_runs_on_any_replica(drained: Drained) -> None:
    handle, told = drained([2, 1], [0, 1], [0, 0])
    assert (told, handle.asked[-1]) == ([3, 1, 0], "leave")


def test_nothing_is_waited_for_where_nothing_runs(drained: Drained) -> None:
    began = time.monotonic()
    handle, told = drained([0])
    assert (told, handle.asked) == ([0], ["drain", "leave"])
    assert time.monotonic() - began < 1


def test_replicas_that_serve_replaces_are_waited_for_as_well(drained: Drained) -> None:
    _, told = drained([0], stopping=(1, 1, 0))
    assert told == [1, 1, 0]


def test_past_the_deadline_what_runs_is_ended(drained: Drained) -> None:
    handle, told = drained([4], within_s=0.1)
    assert told[-1] == 4 and handle.asked[-1] == "leave"


def test_a_call_that_fails_is_made_again(drained: Drained) -> None:
    handle, told = drained(TimeoutError(), [1], [0])
    assert (told, handle.asked[-1]) == ([1, 0], "leave")


def test_without_a_replica_nobody_waits(drained: Drained) -> None:
    _, told = drained(DeploymentUnavailableError(None))  # type: ignore[arg-type]
    assert told == []


def test_replicas_that_serve_stops_are_counted_by_the_strings_that_ray_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    states: Any = {"RUNNING": 2, "STOPPING": 3}
    overview = DeploymentStatusOverview("HEALTHY", "UNSPECIFIED", states, "")  # type: ignore[arg-type]
    status = SimpleNamespace(applications={"chatllm": SimpleNamespace(deployments={"Ingress": overview})})
    monkeypatch.setattr(ray.serve, "status", lambda: status)
    assert draining._stopping("chatllm") == 3

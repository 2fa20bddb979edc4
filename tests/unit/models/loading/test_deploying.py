"""A controller that hangs holds up nobody: it is asked one at a time, and its late answer counts."""

import asyncio
import threading
import time
from collections.abc import Generator
from types import SimpleNamespace
from typing import Any

import pytest
from ray.serve.exceptions import RayServeException

from deployments.models.loading import deploying
from deployments.models.loading.deploying import AbsentDeployments, absence
from deployments.models.loading.failure import LoadFailure
from deployments.models.loading.progress import Loading


class Controller:
    """Serve's `status`, which can hang or fail."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.value = "DEPLOY_FAILED"
        self.calls = 0

    def status(self) -> Any:
        self.calls += 1
        self.gate.wait()
        if self.error:
            raise self.error
        state = SimpleNamespace(status=SimpleNamespace(value=self.value), message="", replica_states={})
        return SimpleNamespace(
            applications={"app": SimpleNamespace(status=state.status, deployments={"model-a": state})}
        )


@pytest.fixture
def controller(monkeypatch: pytest.MonkeyPatch) -> Generator[Controller]:
    controller = Controller()
    monkeypatch.setattr(deploying.serve, "status", controller.status)
    monkeypatch.setattr(deploying, "CACHE_S", 0.0)
    monkeypatch.setattr(deploying, "TIMEOUT_S", 0.05)
    yield controller
    controller.gate.set()


async def names(failed: AbsentDeployments) -> set[str]:
    await asyncio.sleep(0.001)
    return {"model-a"} if (await failed.of("app", "model-a")).has_failed else set()


async def test_what_has_failed_is_known(controller: Controller) -> None:
    assert await names(AbsentDeployments()) == {"model-a"}


async def test_one_without_replicas_is_asleep_only_if_it_stays_so(controller: Controller) -> None:
    absent = AbsentDeployments()
    controller.value = "HEALTHY"  # as Serve says for a moment before it starts the first replicas
    assert not (await absent.of("app", "model-a")).is_asleep
    controller.value = "UPDATING"
    await asyncio.sleep(0.001)
    assert not (await absent.of("app", "model-a")).is_asleep
    controller.value = "HEALTHY"
    await asyncio.sleep(0.001)
    assert not (await absent.of("app", "model-a")).is_asleep
    await asyncio.sleep(0.001)
    assert (await absent.of("app", "model-a")).is_asleep


async def test_a_hung_controller_is_asked_once(controller: Controller) -> None:
    failed = AbsentDeployments()
    controller.gate.clear()
    before = threading.active_count()

    for _ in range(10):
        assert await names(failed) == set()

    assert controller.calls == 1
    assert threading.active_count() == before + 1
    began = time.monotonic()
    await asyncio.gather(*(asyncio.to_thread(lambda: None) for _ in range(10)))  # the executor is free
    assert time.monotonic() - began < 5


async def test_a_late_answer_counts_and_the_next_question_is_asked(controller: Controller) -> None:
    failed = AbsentDeployments()
    controller.gate.clear()
    assert await names(failed) == set()
    controller.gate.set()
    assert await names(failed) == {"model-a"}
    await names(failed)
    assert controller.calls == 2


async def test_what_was_known_stays_where_the_controller_fails(controller: Controller) -> None:
    failed = AbsentDeployments()
    assert await names(failed) == {"model-a"}
    controller.error = RayServeException("gone")
    assert await names(failed) == {"model-a"}
    controller.error = None
    assert await names(failed) == {"model-a"}
    assert controller.calls == 3


def test_a_replica_that_cannot_load_has_failed_before_serve_gives_up() -> None:
    damaged = Loading.begun(None).failed(LoadFailure("corrupt_weights", "A file is damaged."))
    found = absence("model-a", "UPDATING", "", damaged)
    assert (found.has_failed, found.reason) == (True, "A file is damaged.")
    full = Loading.begun(None).failed(LoadFailure("no_space", "The disk is full.", may_pass=True))
    found = absence("model-a", "UPDATING", "", full)
    assert (found.has_failed, found.reason) == (False, "The disk is full.")


def test_one_that_was_killed_without_a_word_is_told_by_what_serve_says() -> None:
    message = "failed to start 3 times in a row. Error:\nThe actor died unexpectedly before finishing this task."
    found = absence("model-a", "DEPLOY_FAILED", message, Loading.begun(None))
    assert found.has_failed and "was killed while it loaded" in found.reason
    assert absence("model-a", "DEPLOY_FAILED", "", None).reason.startswith("Its replica failed")


def test_what_no_machine_has_is_said_to_be_waited_for() -> None:
    message = "Deployment 'model-a' has 1 replicas that have taken more than 30s to be scheduled."
    found = absence("model-a", "UPDATING", message, None)
    assert not found.has_failed and found.reason.startswith("No machine has the CPUs, GPUs or memory free")


def test_one_that_takes_long_to_load_does_not_wait_for_a_machine() -> None:
    message = "Deployment 'model-a' has 1 replicas that have taken more than 30s to initialize.\nThis may be caused by"
    assert absence("model-a", "UPDATING", message, None).reason == ""

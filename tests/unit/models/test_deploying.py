"""A controller that hangs holds up nobody: it is asked one at a time, and its late answer counts."""

import asyncio
import threading
import time
from collections.abc import Generator
from types import SimpleNamespace
from typing import Any

import pytest
from ray.serve.exceptions import RayServeException

from deployments.models import deploying
from deployments.models.deploying import FailedDeployments


class Controller:
    """Serve's `status`, which can hang or fail."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.calls = 0

    def status(self) -> Any:
        self.calls += 1
        self.gate.wait()
        if self.error:
            raise self.error
        state = SimpleNamespace(status=SimpleNamespace(value="DEPLOY_FAILED"))
        return SimpleNamespace(applications={"app": SimpleNamespace(deployments={"model-a": state})})


@pytest.fixture
def controller(monkeypatch: pytest.MonkeyPatch) -> Generator[Controller]:
    controller = Controller()
    monkeypatch.setattr(deploying.serve, "status", controller.status)
    monkeypatch.setattr(deploying, "CACHE_S", 0.0)
    monkeypatch.setattr(deploying, "TIMEOUT_S", 0.05)
    yield controller
    controller.gate.set()


async def names(failed: FailedDeployments) -> frozenset[str]:
    await asyncio.sleep(0.001)
    return await failed.names()


async def test_what_has_failed_is_known(controller: Controller) -> None:
    assert await names(FailedDeployments("app")) == {"model-a"}


async def test_a_hung_controller_is_asked_once(controller: Controller) -> None:
    failed = FailedDeployments("app")
    controller.gate.clear()
    before = threading.active_count()

    for _ in range(10):
        assert await names(failed) == frozenset()

    assert controller.calls == 1
    assert threading.active_count() == before + 1
    began = time.monotonic()
    await asyncio.gather(*(asyncio.to_thread(lambda: None) for _ in range(10)))  # the executor is free
    assert time.monotonic() - began < 5


async def test_a_late_answer_counts_and_the_next_question_is_asked(controller: Controller) -> None:
    failed = FailedDeployments("app")
    controller.gate.clear()
    assert await names(failed) == frozenset()
    controller.gate.set()
    assert await names(failed) == {"model-a"}
    await names(failed)
    assert controller.calls == 2


async def test_what_was_known_stays_where_the_controller_fails(controller: Controller) -> None:
    failed = FailedDeployments("app")
    assert await names(failed) == {"model-a"}
    controller.error = RayServeException("gone")
    assert await names(failed) == {"model-a"}
    controller.error = None
    assert await names(failed) == {"model-a"}
    assert controller.calls == 3

"""An engine that is frozen is found, and one that works is not, however long it says nothing."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Generator, Sequence

import pytest

from deployments.models.vllm import engine_watch
from deployments.models.vllm.engine_watch import DIED, FROZEN, EngineWatch

LOOK_S = 0.05
COMPUTES, WAITS = "while True: pass", "import time; time.sleep(60)"


class Engine:
    """A process, which answers canaries unless it is told not to."""

    def __init__(self, pids: Sequence[int], answers: bool, has_device: bool = False) -> None:
        self.is_dead = False
        self.has_device = has_device
        self.pids = pids
        self.canaries = 0
        self._answers = answers

    async def canary(self, name: str) -> None:
        assert name.startswith(engine_watch.CANARY)
        self.canaries += 1
        if not self._answers:
            await asyncio.Event().wait()


@contextlib.contextmanager
def process(does: str) -> Generator[int]:
    with subprocess.Popen([sys.executable, "-S", "-c", does]) as one:
        try:
            yield one.pid
        finally:
            one.kill()


async def watched(engine: Engine, looks: int, outputs: bool = False) -> list[str]:
    """Return why the engine was given up within so many looks."""
    lost: list[str] = []
    watch = EngineWatch(engine, lost.append, LOOK_S)
    try:
        for _ in range(looks):
            await asyncio.sleep(LOOK_S)
            if outputs:
                watch.hear()
    finally:
        watch.close()
    return lost


async def test_a_stopped_engine_is_given_up_once() -> None:
    with process(COMPUTES) as pid:
        os.kill(pid, signal.SIGSTOP)
        engine = Engine([pid], answers=False)
        assert await watched(engine, 40) == [FROZEN]
        assert engine.canaries == 1


async def test_one_whose_threads_all_wait_is_given_up() -> None:
    with process(WAITS) as pid:
        assert await watched(Engine([pid], answers=False), 40) == [FROZEN]


async def test_one_that_waits_for_its_device_is_slow_for_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    with process(WAITS) as pid:
        assert await watched(Engine([pid], answers=False, has_device=True), 40) == []
        monkeypatch.setattr(engine_watch, "STILL_ON_DEVICE_LOOKS", 20)
        assert await watched(Engine([pid], answers=False, has_device=True), 60) == [FROZEN]


async def test_one_with_a_device_that_is_stopped_is_given_up_as_soon_as_any() -> None:
    with process(COMPUTES) as pid:
        os.kill(pid, signal.SIGSTOP)
        assert await watched(Engine([pid], answers=False, has_device=True), 40) == [FROZEN]


async def test_one_of_its_workers_is_enough() -> None:
    with process(COMPUTES) as working, process(COMPUTES) as stopped:
        os.kill(stopped, signal.SIGSTOP)
        assert await watched(Engine([working, stopped], answers=False), 40) == [FROZEN]


async def test_one_that_computes_and_says_nothing_is_slow() -> None:
    with process(COMPUTES) as pid:
        engine = Engine([pid], answers=False)
        assert await watched(engine, 60) == []
        assert engine.canaries == 1


async def test_what_computes_for_minutes_and_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_watch, "SILENT_LOOKS", 30)
    with process(COMPUTES) as pid:
        assert await watched(Engine([pid], answers=False), 60) == [FROZEN]


async def test_no_canary_is_sent_while_anything_comes() -> None:
    with process(WAITS) as pid:
        engine = Engine([pid], answers=False)
        assert await watched(engine, 40, outputs=True) == []
        assert engine.canaries == 0


async def test_an_idle_engine_that_answers_its_canaries_is_kept() -> None:
    with process(WAITS) as pid:
        engine = Engine([pid], answers=True)
        assert await watched(engine, 60) == []
        assert engine.canaries > 3


async def test_a_dead_engine_is_given_up_at_the_next_look() -> None:
    engine = Engine([], answers=True)
    engine.is_dead = True
    assert await watched(engine, 3) == [DIED]

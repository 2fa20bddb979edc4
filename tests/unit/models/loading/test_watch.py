"""Phases and failures of a load, as its replica tells them."""

import os
import subprocess
import sys
import time
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest

from deployments.config import ScriptedModel, VLLMModel
from deployments.models.loading import watch
from deployments.models.loading.failure import LoadFailure, ModelLoadFailed
from deployments.models.loading.progress import SAME_START_S, Loading, decoded
from deployments.models.loading.watch import EngineOutput, downloaded, phase_of, watched

MODEL = ScriptedModel(id="m", kind="scripted")
NO_CAUSE = "Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}"
DAMAGED = LoadFailure("corrupt_weights", "A file is damaged.")
FULL = LoadFailure("no_space", "The disk is full.", may_pass=True)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Loading]:
    """What is published, in order."""
    states: list[Loading] = []
    monkeypatch.setattr(watch, "publish", lambda _deployment, state: states.append(state))
    monkeypatch.setattr(watch, "published", lambda _deployment: states[-1] if states else None)
    monkeypatch.setattr(watch, "POLL_S", 0.01)
    return states


@pytest.fixture
def printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[int]:
    """The descriptor of a file that stands for where this process prints."""
    descriptor = os.open(tmp_path / "worker.err", os.O_CREAT | os.O_RDWR | os.O_APPEND)
    os.write(descriptor, b"Traceback (most recent call last):\nOSError: [Errno 28] No space left on device\n")
    monkeypatch.setattr(watch, "EngineOutput", lambda: EngineOutput((descriptor,)))
    yield descriptor
    os.close(descriptor)


def until_told(told: list[Loading], phase: str) -> Loading:
    for _ in range(500):
        if told[-1].phase == phase:
            return told[-1]
        time.sleep(0.01)
    raise AssertionError(f"{phase} was not told, but {told}")


def test_the_phases_are_told_as_the_engine_prints_them(told: list[Loading], printed: int) -> None:
    with watched(MODEL):
        os.write(printed, b"(EngineCore pid=1) INFO [x.py:1] Starting to load model /models/a...\n")
        until_told(told, "reading_weights")
        os.write(printed, b"\rLoading safetensors checkpoint shards:  50% Completed | 1/2 [00:01<00:01]\n")
        for _ in range(500):
            if told[-1].percent == 50:
                break
            time.sleep(0.01)
        assert told[-1].percent == 50
        os.write(printed, b"(EngineCore pid=1) INFO [x.py:1] Warming up model for the compilation...\n")
        assert until_told(told, "compiling").percent is None
        os.write(printed, b"(EngineCore pid=1) INFO [x.py:1] CPU KV cache size: 1,024 tokens\n")
        until_told(told, "warming_up")
    assert told[-1].phase == "ready"
    assert told[-1].took_s is not None


def test_a_child_that_fails_is_told_with_its_own_first_error(told: list[Loading], printed: int) -> None:
    program = "raise ValueError('No available memory for the cache blocks.')"
    with pytest.raises(ModelLoadFailed, match="The weights leave no memory for the KV cache") as caught, watched(MODEL):
        subprocess.run([sys.executable, "-c", program], stderr=printed, check=False)
        raise RuntimeError(NO_CAUSE)
    assert caught.value.failure == told[-1].failure
    assert (told[-1].phase, told[-1].has_failed) == ("failed", True)


def test_what_a_check_has_found_is_told_as_it_is(told: list[Loading], printed: int) -> None:
    with pytest.raises(ModelLoadFailed, match=r"A file is damaged\."), watched(MODEL):
        raise ModelLoadFailed(DAMAGED.sentence, DAMAGED.code)
    assert told[-1].failure == DAMAGED


def test_a_failure_stays_known_while_the_next_try_runs(told: list[Loading], printed: int) -> None:
    for tries in (1, 2, 3):
        with pytest.raises(ModelLoadFailed), watched(MODEL):
            assert told[-1].failures == tries - 1
            raise OSError(28, "No space left on device")
        assert told[-1].has_failed == (tries == 3)
    with watched(MODEL):
        assert told[-1].has_failed
    assert (told[-1].failure, told[-1].failures) == (None, 0)


def test_one_that_cannot_pass_has_failed_at_once_and_one_from_long_ago_does_not_count() -> None:
    failed = Loading.begun(None).failed(DAMAGED)
    assert failed.has_failed and not Loading.begun(None).failed(FULL).has_failed
    assert Loading.begun(failed).failure == DAMAGED
    assert Loading.begun(replace(failed, since=failed.since - SAME_START_S - 1)).failure is None
    assert Loading.begun(failed.ready()).failure is None


def test_a_replica_that_was_killed_while_it_loaded_is_known_to_the_next() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    killed = replace(Loading.begun(None), phase="reading_weights", pid=gone.pid)
    next_one = Loading.begun(killed)
    assert next_one.failure is not None and (next_one.failure.code, next_one.failures) == ("killed", 1)
    assert Loading.begun(replace(killed, pid=os.getpid())).failure is None  # another replica that loads beside it
    assert Loading.begun(replace(killed, host="elsewhere")).failure is None


def test_a_phase_does_not_come_back() -> None:
    state = replace(Loading.begun(None), phase="warming_up")
    assert phase_of("Starting to load model x\nDynamo bytecode transform time", state).phase == "warming_up"


def test_a_download_is_seen_in_the_cache_with_its_percentage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    model = VLLMModel(id="m", engine={"model": "Qwen/Qwen3-0.6B"})
    assert downloaded(model) == (False, None)
    blobs = tmp_path / "models--Qwen--Qwen3-0.6B" / "blobs"
    blobs.mkdir(parents=True)
    with (blobs / "abc.incomplete").open("wb") as file:
        file.truncate(750_000_000)  # takes no space
    assert downloaded(model) == (True, 50)
    assert downloaded(VLLMModel(id="m", engine={"model": str(tmp_path)})) == (False, None)
    assert downloaded(MODEL) == (False, None)


def test_what_another_version_wrote_is_nothing() -> None:
    assert decoded(b"{") is None
    assert decoded(b'{"phase": "dancing"}') is None

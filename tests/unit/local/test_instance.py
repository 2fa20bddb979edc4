"""The record of a running launcher, and that a process id alone proves nothing."""

import os
import signal
import subprocess
import sys
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest

from deployments.local import background, instance
from deployments.local.instance import Instance
from deployments.local.state import StateFolder

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
OBEDIENT = "import time; print(flush=True); time.sleep(60)"


@pytest.fixture(params=[OBEDIENT])
def process(request: pytest.FixtureRequest) -> Generator["subprocess.Popen[str]"]:
    with subprocess.Popen([sys.executable, "-c", request.param], stdout=subprocess.PIPE, text=True) as found:
        assert found.stdout
        found.stdout.readline()
        yield found
        found.kill()


def record(pid: int) -> Instance:
    return Instance(
        pid=pid,
        started_ticks=instance.started_ticks(pid) or 0,
        host="127.0.0.1",
        port=1,
        page_port=None,
        dashboard_port=2,
        model="m",
    )


def test_a_living_launcher_is_found_by_its_record(tmp_path: Path) -> None:
    record(os.getpid()).write(tmp_path)
    assert Instance.read(tmp_path) == record(os.getpid())


def test_a_reused_process_id_is_not_the_launcher(tmp_path: Path) -> None:
    replace(record(os.getpid()), started_ticks=1).write(tmp_path)
    assert Instance.read(tmp_path) is None


def test_a_reused_process_id_is_not_ended(process: "subprocess.Popen[str]") -> None:
    assert replace(record(process.pid), started_ticks=1).end(timeout_s=1)
    assert process.poll() is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '{"unknown": 1}'])
def test_a_damaged_record_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "instance.json").write_text(text)
    assert Instance.read(tmp_path) is None


def test_no_record_is_none(tmp_path: Path) -> None:
    assert Instance.read(tmp_path) is None
    instance.forget(tmp_path)


def test_end_asks_first(process: "subprocess.Popen[str]") -> None:
    assert record(process.pid).end(timeout_s=10)
    assert process.wait(10) == -signal.SIGTERM


@pytest.mark.parametrize("process", [STUBBORN], indirect=True)
def test_end_does_not_ask_for_ever(process: "subprocess.Popen[str]") -> None:
    assert not record(process.pid).end(timeout_s=0.2)
    assert process.wait(10) == -signal.SIGKILL


def test_a_zombie_has_ended() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert instance.started_ticks(child.pid) is None
    child.wait()


def test_the_address_of_an_open_host_is_reachable() -> None:
    assert replace(record(1), host="0.0.0.0").api_url == "http://127.0.0.1:1"
    assert replace(record(1), host="10.0.0.5").api_url == "http://10.0.0.5:1"


def test_a_launcher_ends_where_its_deadline_cannot_be_written(process: "subprocess.Popen[str]", tmp_path: Path) -> None:
    state, said = StateFolder.open(tmp_path), list[str]()
    record(process.pid).write(state.path)
    (state.path / "stop.new").mkdir()  # as little can be written there as to a full disk
    assert background.stop(state, 5, said.append)
    assert process.wait(5) == -signal.SIGTERM
    assert len(said) == 1

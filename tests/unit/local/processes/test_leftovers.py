"""What a crash leaves is found by its mark, wherever it is, and nothing else is touched."""

import os
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from deployments.local.processes import leftovers

# A grandchild in a session of its own, whose parent is gone: what Ray's workers are after a kill of Ray.
ORPHAN = """
import subprocess, sys
sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
child = subprocess.Popen(sleep, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
print(child.pid, flush=True)
"""


@pytest.fixture
def orphan(tmp_path: Path) -> Generator[int]:
    environment = {**os.environ, **leftovers.marks(tmp_path, "ray")}
    done = subprocess.run([sys.executable, "-c", ORPHAN], env=environment, capture_output=True, text=True, check=True)
    pid = int(done.stdout)
    yield pid
    leftovers.sweep(tmp_path)


def test_an_orphan_is_found_by_its_mark_and_swept(orphan: int, tmp_path: Path) -> None:
    assert list(leftovers.marked(tmp_path, ("ray", "page"))) == [orphan]
    assert leftovers.sweep(tmp_path) == 1
    assert list(leftovers.marked(tmp_path, ("ray", "page"))) == []
    _wait_until_gone(orphan)


def test_parts_are_swept_apart(orphan: int, tmp_path: Path) -> None:
    assert leftovers.sweep(tmp_path, ("page",)) == 0
    assert list(leftovers.marked(tmp_path, ("ray",))) == [orphan]


def test_another_installation_is_left_alone(orphan: int, tmp_path: Path) -> None:
    assert leftovers.sweep(tmp_path / "other") == 0
    assert leftovers.sweep(tmp_path.parent) == 0
    assert list(leftovers.marked(tmp_path, ("ray",))) == [orphan]


def test_the_sweeper_spares_itself(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys; from deployments.local.processes import leftovers\n"
        "print(leftovers.sweep(pathlib.Path(sys.argv[1])))"
    )
    environment = {**os.environ, **leftovers.marks(tmp_path, "ray")}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "0\n")


def _wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.02)

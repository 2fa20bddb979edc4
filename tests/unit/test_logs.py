"""When the lines of the log reach its file."""

import asyncio
import logging
from collections.abc import Iterator
from logging.handlers import MemoryHandler
from pathlib import Path

import pytest

from deployments import logs
from deployments.logs import configure_logging

OURS, SERVES = logging.getLogger("deployments"), logging.getLogger("ray.serve")


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file that Serve writes to after a thousand lines, as it does where it is tuned for throughput."""
    path = tmp_path / "replica.log"
    file = logging.FileHandler(path)
    held = MemoryHandler(1000, target=file)
    for logger in (OURS, SERVES):
        monkeypatch.setattr(logger, "handlers", [])
        monkeypatch.setattr(logger, "level", logger.level)
    monkeypatch.setattr(OURS, "propagate", OURS.propagate)
    monkeypatch.setattr(logs, "WRITTEN_S", 0.05)
    SERVES.addHandler(held)
    configure_logging("INFO")
    yield path
    held.close()
    file.close()


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


async def test_lines_are_written_a_moment_after_the_first(path: Path) -> None:
    log = logging.getLogger("deployments.service")
    for turn in (1, 2):
        log.info("one of turn %d", turn)
        log.info("two of turn %d", turn)
        assert len(lines(path)) == 2 * (turn - 1)
        async with asyncio.timeout(5):
            while len(lines(path)) < 2 * turn:
                await asyncio.sleep(0.01)
    log.debug("below the level")
    await asyncio.sleep(0.1)
    assert lines(path) == ["one of turn 1", "two of turn 1", "one of turn 2", "two of turn 2"]


def test_they_follow_serves_handlers(path: Path, tmp_path: Path) -> None:
    """Serve replaces them when its logging is configured anew."""
    SERVES.handlers.clear()
    other = logging.FileHandler(tmp_path / "other.log")
    other.setLevel("WARNING")
    SERVES.addHandler(other)
    log = logging.getLogger("deployments.service")
    log.info("below the file's level")
    log.warning("to the new file")
    other.close()
    assert lines(tmp_path / "other.log") == ["to the new file"]
    assert lines(path) == []


def test_without_an_event_loop_they_are_written_at_once(path: Path) -> None:
    logging.getLogger("deployments.service").warning("from a thread")
    assert lines(path) == ["from a thread"]

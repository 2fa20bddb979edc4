"""What the lines of the log say, and when they reach its file."""

import ast
import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import Any

import pytest
from ray.serve._private.logging_utils import configure_component_logger
from ray.serve.schema import LoggingConfig

from deployments.cache.deployment import CacheReplica
from deployments.config import CacheSettings, ScriptedModel
from deployments.infra import logs
from deployments.infra.logs import FactsFormatter, configure_logging, with_facts
from deployments.models.deployment import Scripted

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


def test_what_a_library_adds_to_every_record_is_no_fact() -> None:
    def factory(*arguments: Any, **options: Any) -> logging.LogRecord:
        record = logging.LogRecord(*arguments, **options)
        record.vllm_process_name = "MainProcess"
        return record

    before = logging.getLogRecordFactory()
    logging.setLogRecordFactory(factory)
    try:
        record = OURS.makeRecord("deployments", logging.INFO, "", 0, "told", (), None, extra={"kind": "x"})
        assert with_facts(record).getMessage() == "told kind=x"
    finally:
        logging.setLogRecordFactory(before)


async def test_lines_are_written_a_moment_after_the_first(path: Path) -> None:
    log = logging.getLogger("deployments.chat.service")
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
    log = logging.getLogger("deployments.chat.service")
    log.info("below the file's level")
    log.warning("to the new file")
    other.close()
    assert lines(tmp_path / "other.log") == ["to the new file"]
    assert lines(path) == []


def test_without_an_event_loop_they_are_written_at_once(path: Path) -> None:
    logging.getLogger("deployments.chat.service").info("from a thread")
    assert lines(path) == ["from a thread"]


async def test_warnings_are_written_at_once(path: Path) -> None:
    """A replica that is killed a moment later would take them along."""
    log = logging.getLogger("deployments.chat.service")
    log.info("before")
    log.warning("memory runs out")
    assert lines(path) == ["before", "memory runs out"]
    log.info("after")
    assert len(lines(path)) == 2
    async with asyncio.timeout(5):
        while len(lines(path)) < 3:
            await asyncio.sleep(0.01)


@pytest.fixture
def replica(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Path]]:
    """Sets up Serve's own logging of a replica and returns its file."""
    for logger in (OURS, SERVES):
        for name in ("handlers", "level", "propagate"):
            monkeypatch.setattr(logger, name, [] if name == "handlers" else getattr(logger, name))

    def start(encoding: str) -> Path:
        config = LoggingConfig(encoding=encoding, logs_dir=str(tmp_path), enable_access_log=False)
        names = {"component_name": "chatllm_CacheLookup", "component_id": "abc"}
        configure_component_logger(
            **names, logging_config=config, max_bytes=10**6, backup_count=1, buffer_size=1000, component_type=None
        )
        return next(tmp_path.glob("*.log"))

    yield start
    for handler in SERVES.handlers:
        if isinstance(handler, MemoryHandler) and handler.target:
            handler.target.close()
        handler.close()


def warn() -> None:
    facts = {"kind": "redis_timeout", "breaker_is_open": True, "items": ["a", "b"], "reason": 'no "way"\nERROR x=1 %s'}
    logging.getLogger("deployments.cache.lookup").warning("cache look-up %s", "failed", extra=facts)


def test_serve_s_formatter_tells_the_facts(replica: Callable[[str], Path]) -> None:
    path = replica("TEXT")
    configure_logging("INFO")
    warn()
    (line,) = lines(path)
    assert line.endswith(
        "cache look-up failed kind=redis_timeout breaker_is_open=True items=\"['a', 'b']\" "
        'reason="no \\"way\\"\\nERROR x=1 %s"'
    )
    assert line.startswith("WARNING ") and "chatllm_CacheLookup abc" in line


def test_serve_s_json_tells_them_as_fields(replica: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray._common.filters.CoreContextFilter.get_ray_core_logging_context", dict)
    path = replica("JSON")
    configure_logging("INFO")
    warn()
    (line,) = lines(path)
    told = json.loads(line)
    assert told["kind"] == "redis_timeout" and told["message"].startswith("cache look-up failed kind=")


def test_a_line_without_facts_is_left_as_it_is(replica: Callable[[str], Path]) -> None:
    path = replica("TEXT")
    configure_logging("INFO")
    logging.getLogger("deployments.metrics.telemetry").info("request id=%s", "1")
    logging.getLogger("deployments.metrics.telemetry").error("100 %")
    assert [line.partition(" -- ")[2] for line in lines(path)] == ["request id=1", "100 %"]


async def _scripted() -> None:
    made = Scripted.__new__(Scripted)
    await made.__init__(ScriptedModel(id="echo", kind="scripted"), "ERROR")  # type: ignore[misc]


async def _cache() -> None:
    CacheReplica(CacheSettings(), "ERROR")


@pytest.mark.parametrize("start", [_scripted, _cache])
async def test_every_kind_of_replica_logs_alike(
    replica: Callable[[str], Path], start: Callable[[], Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:1/none")
    path = replica("TEXT")
    await start()
    warn()
    logging.getLogger("deployments.any").error("told", extra={"kind": "x"})
    assert [line.partition(" -- ")[2] for line in lines(path)] == ["told kind=x"]


def test_the_launcher_and_the_command_line_tell_the_facts() -> None:
    code = (
        "import logging, sys; from deployments.local import cli; sys.argv[1:] = ['--help']\n"
        "try: cli.main()\nexcept SystemExit: pass\n"
        "logging.getLogger('deployments.local.supervisor').warning('a server died', extra={'server': 'valkey'})"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert result.stderr.endswith("WARNING a server died server=valkey\n")


def test_what_has_no_formatter_for_facts_passes_none() -> None:
    """The page's process has its own log, without `FactsFormatter`."""
    assert FactsFormatter("%(message)s").format(logging.makeLogRecord({"msg": "m", "x": 1})) == "m x=1"
    for path in Path("ui").rglob("*.py"):
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        assert not any(keyword.arg == "extra" for call in calls for keyword in call.keywords), path

"""The whole service, started for a measurement, and what its processes take of the machine."""

import asyncio
import os
import signal
import socket
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from loadtests.bare_vllm import NotStarted

START_TIMEOUT_S = 600.0
MARK = "CHATLLM_BENCH"
MODEL_PROCESSES = ("VLLM::", "EngineCore", "Worker_")
"""How vLLM names the processes that compute; all else is front end, on both sides."""
INGRESS_PROCESS = "ServeReplica:chatllm:Ingress"
PARTS = {"ingress": INGRESS_PROCESS, "model": "ServeReplica:model-", "HAProxy": "haproxy -"}
"""Of a service whose model is scripted: the processes that a token passes, by what their titles hold."""
REST = "rest"


@dataclass(frozen=True, slots=True)
class Processes:
    """The processes of one side: those whose environment carries its mark, and what they started.

    Postgres and Valkey write their titles over the mark; their parents have it.
    What has ended since it was first seen counts with the CPU it had taken by then.
    """

    mark: str
    _seen: dict[psutil.Process, tuple[str, float]] = field(
        default_factory=dict[psutil.Process, tuple[str, float]], compare=False, repr=False
    )

    def front_end_cpu_s(self) -> float:
        """Return the seconds of CPU that all but the model has taken so far."""
        return sum(taken_s for title, taken_s in self._titles_and_cpu_s() if not _is_model(title))

    def cpu_s(self) -> dict[str, float]:
        """Return the seconds of CPU that each of `PARTS`, and the rest, has taken so far."""
        taken = dict.fromkeys([*PARTS, REST], 0.0)
        for title, taken_s in self._titles_and_cpu_s():
            taken[_part(title)] += taken_s
        return taken

    def ingress_uss_mb(self) -> float:
        """Return the memory that belongs to one ingress replica alone (unique set size), the largest of them."""
        found = [_uss_mb(process) for process in self._all() if INGRESS_PROCESS in _title(process)]
        return round(max(found, default=0.0), 2)

    def _titles_and_cpu_s(self) -> Collection[tuple[str, float]]:
        for process in self._all():
            with suppress(psutil.Error):
                times = process.cpu_times()
                self._seen[process] = (_title(process), times.user + times.system)
        return self._seen.values()

    def _all(self) -> list[psutil.Process]:
        every = {process.pid: process for process in psutil.process_iter(["ppid"])}
        ours = {pid for pid, process in every.items() if _mark(process) == self.mark}
        while more := {pid for pid, process in every.items() if pid not in ours and process.info["ppid"] in ours}:
            ours |= more
        return [every[pid] for pid in ours]


def _mark(process: psutil.Process) -> str:
    with suppress(psutil.Error, OSError):
        return process.environ().get(MARK, "")
    return ""


def _title(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join(process.cmdline()) or process.name()
    return ""


def _part(title: str) -> str:
    return next((part for part, held in PARTS.items() if held in title), REST)


def _is_model(title: str) -> bool:
    return any(name in title for name in MODEL_PROCESSES)


def _uss_mb(process: psutil.Process) -> float:
    with suppress(psutil.Error):
        return process.memory_full_info().uss / 2**20
    return 0.0


def new_mark() -> str:
    """Return a mark for the environment of one side's processes."""
    return uuid.uuid4().hex


@dataclass(frozen=True, slots=True)
class Service:
    """A service that was started here."""

    url: str
    key: str = field(repr=False)
    processes: Processes
    ready_s: float
    """Seconds from the command to the first token that could be had."""
    state: Path
    """Its state folder."""


def ends_with_its_service() -> None:
    """Let SIGTERM end this process as Ctrl-C does, so that what it started ends too."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@asynccontextmanager
async def whole_service(config: Path) -> AsyncGenerator[Service]:
    """Run the service of `config` on free ports with a state folder of its own; ends it and removes the folder."""
    with tempfile.TemporaryDirectory(prefix="chatllm-bench-", ignore_cleanup_errors=True) as folder:
        mark, port = new_mark(), free_port()
        environment = {
            **os.environ,
            MARK: mark,
            "CHATLLM_STATE": folder,
            "CHATLLM_PORT": str(port),
            "CHATLLM_PAGE_PORT": str(free_port()),
            "CHATLLM_DASHBOARD_PORT": str(free_port()),
        }
        began = time.perf_counter()
        try:
            await _chatllm(environment, "up", "--detach", "--wait", "--config", str(config))
            ready_s = time.perf_counter() - began
            key = (Path(folder) / "api.key").read_text(encoding="utf-8").strip()
            yield Service(f"http://127.0.0.1:{port}", key, Processes(mark), ready_s, Path(folder))
        finally:
            await _chatllm(environment, "down")


async def _chatllm(environment: dict[str, str], *arguments: str) -> None:
    command = [sys.executable, "-m", "deployments.local.cli", *arguments]
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(START_TIMEOUT_S):
        output, _ = await process.communicate()
    if process.returncode:
        raise NotStarted(output.decode(errors="replace").strip().splitlines()[-1])


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])

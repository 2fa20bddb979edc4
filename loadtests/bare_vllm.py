"""vLLM's own OpenAI server, started with the engine arguments of a serve_config.yaml."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
START_TIMEOUT_S = 600.0
GRACE_S = 15.0
# Names that vLLM's command line spells in another way than its handlers.
CHAT_FLAGS = {"enable_auto_tools": "enable_auto_tool_choice", "tool_parser": "tool_call_parser"}


class NotStarted(Exception):
    """The server cannot be started; the message is for the user."""


@dataclass(frozen=True, slots=True)
class EngineOf:
    """One vLLM model of a serve_config.yaml, whose paths are relative to the repository."""

    model: str
    engine: dict[str, Any]
    chat: dict[str, Any]
    environment: dict[str, str]

    @classmethod
    def read(cls, config: Path, model: str = "") -> "EngineOf":
        """Return the named model of the file, by default its first that vLLM runs; NotStarted if there is none."""
        applications = yaml.safe_load(config.read_text(encoding="utf-8")).get("applications") or []
        arguments: list[dict[str, Any]] = [app.get("args") or {} for app in applications]
        models = [model for one in arguments for model in one.get("models", [one] if "id" in one else [])]
        for one in models:
            if one.get("kind", "vllm") == "vllm" and model in ("", one["id"]):
                return cls(one["id"], one["engine"], one.get("chat", {}), one.get("environment", {}))
        raise NotStarted(f"{config} has no vLLM model {model!r}: name one with --model")

    def arguments(self) -> list[str]:
        """Return the options of vLLM's command line; its access log is off, to its advantage."""
        chat = {CHAT_FLAGS.get(name, name): value for name, value in self.chat.items()}
        options = {**self.engine, **chat, "served_model_name": self.model, "disable_uvicorn_access_log": True}
        return [part for name, value in options.items() for part in _option(name, value)]


def _option(name: str, value: Any) -> list[str]:
    flag = name.replace("_", "-")
    if value is None:
        return []
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    if isinstance(value, list):
        return [f"--{flag}", *map(str, value)]
    return [f"--{flag}", json.dumps(value) if isinstance(value, dict) else str(value)]


@asynccontextmanager
async def bare_server(engine: EngineOf, log: Path, environment: Mapping[str, str]) -> AsyncGenerator[str]:
    """Run the server on a free port of 127.0.0.1 and yield its address once it is healthy; end all its processes."""
    port = _free_port()
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *engine.arguments()]
    with log.open("wb") as output:
        server = await asyncio.create_subprocess_exec(
            *command,
            *("--host", "127.0.0.1", "--port", str(port)),
            cwd=REPOSITORY,
            env={"OMP_NUM_THREADS": str(_computing_threads()), **os.environ, **engine.environment, **environment},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        await _until_healthy(server, port, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        await _end(server)


def _computing_threads() -> int:
    """As many as the service gives its engine on a CPU: all cores but one."""
    return max(1, len(os.sched_getaffinity(0)) - 1)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


async def _until_healthy(server: asyncio.subprocess.Process, port: int, log: Path) -> None:
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            while not await _is_healthy(port):
                if server.returncode is not None:
                    raise NotStarted(f"vLLM ended at its start, see {log}")
                await asyncio.sleep(0.5)
    except TimeoutError:
        raise NotStarted(f"vLLM was not ready within {START_TIMEOUT_S:.0f} s, see {log}") from None


async def _is_healthy(port: int) -> bool:
    try:
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            status = await reader.readline()
            writer.close()
            return b" 200 " in status
    except (OSError, TimeoutError):
        return False


async def _end(server: asyncio.subprocess.Process) -> None:
    """End the server's whole session: its engine is a process of its own and outlives a killed parent."""
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)
    with suppress(TimeoutError):
        await asyncio.wait_for(server.wait(), GRACE_S)
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    await server.wait()

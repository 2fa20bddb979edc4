"""Ingress replicas in processes of their own, upon real stores: all but Ray and a real model.

Each has its own scripted model, and notes in a file which requests that was asked for. As a program, one of them.
"""

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx

from deployments.config import ScriptedModel
from deployments.models.delivery.listener import Listener
from deployments.models.protocol import Message, ModelRequest, Progress
from deployments.models.scripted.replica import ScriptedReplica
from tests.integration.serving import served

ROOT = Path(__file__).parents[1]
START_S = 120


@dataclass
class Ingress:
    """A replica: its address, the key of whoever started all of them, and its process."""

    url: str
    key: str
    process: asyncio.subprocess.Process
    file: Path

    def client(self) -> httpx.AsyncClient:
        """Return an HTTP client with the key."""
        return httpx.AsyncClient(base_url=self.url, headers={"authorization": f"Bearer {self.key}"}, timeout=30)

    @property
    def begun(self) -> list[str]:
        """The requests that its model was asked for, in their order."""
        return self.file.read_text().split() if self.file.exists() else []

    async def running(self) -> int:
        """Return how many requests its model runs now."""
        async with self.client() as http:
            return (await http.get("/v1/models/model")).json()["running"]

    async def kill(self) -> None:
        """End it as hard as can be."""
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()


@asynccontextmanager
async def ingress_processes(
    count: int, database_url: str, redis_url: str, model: dict[str, Any], **settings: Any
) -> AsyncGenerator[list[Ingress]]:
    """Run so many replicas of one service, whose model is called `model`; the first one's key is that of all."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        made: list[Ingress] = []
        for at in range(count):
            file = folder / f"begun-{at}"
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.ingress_processes", database_url, redis_url, str(file)),
                *(json.dumps(model), json.dumps(settings)),
                cwd=ROOT,
                stdout=asyncio.subprocess.PIPE,
            )
            stack.push_async_callback(_ended, process)
            assert process.stdout
            url, key = (await asyncio.wait_for(process.stdout.readline(), START_S)).decode().split()
            made.append(Ingress(url, made[0].key if made else key, process, file))
        yield made


async def _ended(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()


async def main(database_url: str, redis_url: str, file: Path, model: dict[str, Any], settings: dict[str, Any]) -> None:
    """Serve until this process is ended, and say where."""
    generate, listener = ScriptedReplica.generate, Listener()

    async def counted(self: ScriptedReplica, model_request: ModelRequest) -> AsyncGenerator[Message | Progress]:
        with file.open("a") as begun:
            begun.write(f"{model_request.request_id}\n")
        async for message in generate(self, model_request):
            yield message

    await listener.open("127.0.0.1")
    scripted = ScriptedModel(id="model", kind="scripted", **model)
    with patch.object(ScriptedReplica, "generate", counted):
        async with served(database_url, redis_url, scripted, listener=listener, **settings) as service:
            sys.stdout.write(f"{service.url} {service.key}\n")
            sys.stdout.flush()
            await asyncio.Event().wait()


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    asyncio.run(main(*sys.argv[1:3], Path(sys.argv[3]), *map(json.loads, sys.argv[4:])))

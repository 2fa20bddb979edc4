"""Lua scripts on Redis, gathered: what waits while a round trip is out goes in the next one.

Each script still runs alone. A round trip costs this process half a millisecond
of CPU, whatever it carries, so that gathering decides what a burst costs.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha1
from pathlib import Path
from typing import Any

from redis.asyncio import Redis, RedisCluster
from redis.exceptions import NoScriptError

from deployments.infra.redis.errors import StoreError, translated

MAX_CALLS = 256

Argument = str | bytes | int


class Script:
    """The text of a Lua script, in a file."""

    def __init__(self, path: Path) -> None:
        self.text = path.read_text(encoding="utf-8")
        self.sha = sha1(self.text.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class _Call:
    script: Script
    keys: Sequence[str]
    arguments: Sequence[Argument]
    reply: asyncio.Future[Any]

    def command(self, is_known: bool) -> tuple[Argument, ...]:
        """Return the call, with the script's name in place of its text for a server that knows it."""
        head = ("EVALSHA", self.script.sha) if is_known else ("EVAL", self.script.text)
        return (*head, len(self.keys), *self.keys, *self.arguments)


class Scripts:
    """Runs scripts for one event loop, one round trip at a time, each of which may take `timeout_s`."""

    def __init__(self, client: "Redis | RedisCluster", timeout_s: float) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self._waiting: deque[_Call] = deque()
        self._task: asyncio.Task[None] | None = None

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """Return the script's reply; raises StoreError. Cancelled before it was sent, it never runs."""
        call = _Call(script, keys, arguments, asyncio.get_running_loop().create_future())
        self._start([call])
        return await call.reply

    async def run_all(self, script: Script, calls: Sequence[tuple[Sequence[str], Sequence[Argument]]]) -> list[Any]:
        """Return the script's replies to several calls, each its keys and arguments, in as few round trips as possible.

        Raises StoreError if one of them fails; the others may have been made.
        """
        loop = asyncio.get_running_loop()
        waiting = [_Call(script, keys, arguments, loop.create_future()) for keys, arguments in calls]
        self._start(waiting)
        return list(await asyncio.gather(*(call.reply for call in waiting)))

    def _start(self, calls: Sequence[_Call]) -> None:
        self._waiting.extend(calls)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._send_all(), name="redis-scripts")

    async def aclose(self) -> None:
        """End the round trip that is under way; those who wait get a StoreError."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _send_all(self) -> None:
        try:
            while self._waiting:
                await self._send([self._waiting.popleft() for _ in range(min(MAX_CALLS, len(self._waiting)))])
        finally:
            _answer(self._waiting, [StoreError("closed")] * len(self._waiting))
            self._waiting.clear()

    async def _send(self, calls: Sequence[_Call]) -> None:
        calls = [call for call in calls if not call.reply.done()]
        replies: Sequence[Any] = [StoreError("closed")] * len(calls)
        try:
            with translated():
                async with asyncio.timeout(self._timeout_s):
                    replies = await self._replies(calls, is_known=True)
        except Exception as error:  # noqa: BLE001 - it is raised again, to all who wait
            replies = [error] * len(calls)
        finally:
            _answer(calls, replies)

    async def _replies(self, calls: Sequence[_Call], is_known: bool) -> list[Any]:
        replies = await self._execute([call.command(is_known) for call in calls])
        unknown = [at for at, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:
            repeated = await self._replies([calls[at] for at in unknown], is_known=False)
            for at, reply in zip(unknown, repeated, strict=True):
                replies[at] = reply
        return replies

    async def _execute(self, commands: Sequence[tuple[Argument, ...]]) -> list[Any]:
        """Return the replies, errors among them; the keys of a cluster's commands lie on different servers."""
        if isinstance(self._client, RedisCluster):
            client: Any = self._client
            return await asyncio.gather(*(client.execute_command(*each) for each in commands), return_exceptions=True)
        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        return await pipeline.execute(raise_on_error=False)


def _answer(calls: Sequence[_Call] | deque[_Call], replies: Sequence[Any]) -> None:
    for call, reply in zip(calls, replies, strict=True):
        if call.reply.done():
            continue
        if isinstance(reply, BaseException):
            call.reply.set_exception(_as_store_error(reply))
        else:
            call.reply.set_result(reply)


def _as_store_error(error: BaseException) -> BaseException:
    try:
        with translated():
            raise error
    except BaseException as foreign:  # noqa: BLE001 - it is raised again, to the one who waits
        return foreign

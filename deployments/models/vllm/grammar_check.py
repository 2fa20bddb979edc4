"""Whether a grammar compiles in bounded time, found out before the engine sees it.

The engine compiles grammars in a few threads that nothing can stop, so that one
grammar that never ends would keep all others from being compiled. Whatever is not
plainly cheap is compiled on trial first, in a child process that is killed when its
CPU time is up or its client has left (`grammar_process.py`); what has passed is
remembered. The engine then takes about as long again.
"""

import asyncio
import contextlib
import hashlib
import logging
import os
import re
import shutil
import signal
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

from deployments.errors import Unavailable

logger = logging.getLogger(__name__)

Kind = Literal["json", "regex", "lark", "grammar", "structural_tag"]
TrialResult = Literal["cheap", "known", "passed", "invalid", "too_slow", "unchecked"]

CHEAP_CHARACTERS = 2048
DEAR = re.compile(
    r'"(?:pattern|patternProperties|propertyNames|format|m(?:in|ax)(?:Length|Items|Properties|imum)'
    r'|exclusiveM(?:in|ax)imum|regex|grammar|multipleOf|allOf)"'
)
"""What makes even a short JSON schema dear: repetitions and patterns, which become automata."""

REMEMBERED = 4096
START_S = 120.0
WALL_FACTOR = 6
"""Seconds of the clock that a second of CPU time may take on a busy machine."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A grammar as the engine would compile it."""

    kind: Kind
    spec: str
    any_whitespace: bool = True

    @property
    def is_cheap(self) -> bool:
        """Tell what compiles in some hundredths of a second, whatever it says."""
        return (
            self.kind in ("json", "structural_tag")
            and len(self.spec) <= CHEAP_CHARACTERS
            and not DEAR.search(self.spec)
        )

    @property
    def digest(self) -> bytes:
        return hashlib.sha256(f"{self.kind}:{self.any_whitespace}:{self.spec}".encode(errors="replace")).digest()


class GrammarCheck:
    """Compiles grammars on trial, one at a time for each two cores. The process starts with the first dear one."""

    def __init__(
        self, tokenizer: Callable[[], str], limit_s: float, count: Callable[[TrialResult, float], None]
    ) -> None:
        """`tokenizer` returns xgrammar's JSON of the tokenizer; it is called in a thread, once.

        `limit_s` is the CPU time of one grammar; `count` is called with each outcome and the CPU seconds it took.
        """
        self._tokenizer = tokenizer
        self._limit_s = limit_s
        self._count = count
        self._passed: OrderedDict[bytes, None] = OrderedDict()
        self._places = asyncio.Semaphore(max(1, (os.cpu_count() or 1) // 2))
        self._starting = asyncio.Lock()
        self._process: Process | None = None
        self._folder: Path | None = None

    async def outcome(self, trial: Trial) -> TrialResult:
        """Return what is to be expected of a grammar; cancelling ends its compilation at once.

        Raises Unavailable where the process for it cannot be started.
        """
        if trial.is_cheap:
            return self._counted("cheap")
        digest = trial.digest
        if digest in self._passed:
            self._passed.move_to_end(digest)
            return self._counted("known")
        async with self._places:
            outcome, cpu_s = await self._tried(trial, await self._socket())
        if outcome == "passed":
            self._passed[digest] = None
            if len(self._passed) > REMEMBERED:
                self._passed.popitem(last=False)
        return self._counted(outcome, cpu_s)

    async def aclose(self) -> None:
        """End the process, and whatever compiles."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _counted(self, outcome: TrialResult, cpu_s: float = 0.0) -> TrialResult:
        self._count(outcome, cpu_s)
        return outcome

    async def _tried(self, trial: Trial, path: Path) -> tuple[TrialResult, float]:
        reader, writer = await asyncio.open_unix_connection(path)
        pid, answer = None, b""
        try:
            async with asyncio.timeout(self._limit_s * WALL_FACTOR):
                pid = int(await reader.readline())
                body = {"kind": trial.kind, "spec": trial.spec, "any_whitespace": trial.any_whitespace}
                writer.write(orjson.dumps(body) + b"\n")
                await writer.drain()
                answer = await reader.readline()
        except (TimeoutError, ConnectionError, ValueError):
            pass  # its time was up, or the child died: no answer either way
        finally:
            if pid is not None and not answer and not reader.at_eof():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            writer.close()
        if not answer:
            return "too_slow", self._limit_s
        result: dict[str, Any] = orjson.loads(answer)
        return ("passed" if result["is_valid"] else "invalid"), float(result.get("cpu_s", 0.0))

    async def _socket(self) -> Path:
        """Return where the process listens; it is started if it does not run."""
        async with self._starting:
            if self._process is None or self._process.returncode is not None or self._folder is None:
                await self.aclose()
                self._folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="chatllm-grammars-"))
                self._process = await self._started(self._folder)
            return self._folder / "socket"

    async def _started(self, folder: Path) -> Process:
        tokenizer = folder / "tokenizer.json"
        await asyncio.to_thread(lambda: tokenizer.write_text(self._tokenizer(), encoding="utf-8"))
        module = "deployments.models.vllm.grammar_process"
        arguments = ("-m", module, str(folder / "socket"), str(tokenizer), str(self._limit_s))
        root = str(Path(__file__).parents[3])
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))}
        process = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, stdin=PIPE, stdout=PIPE, env=environment
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(START_S):
                line = await process.stdout.readline()
        except TimeoutError:
            line = b""
        if line != b"ready\n":
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            logger.error("the process that checks grammars did not start: exit status %s", process.returncode)
            raise Unavailable("Structured outputs cannot be checked at the moment.", None, 10.0)
        return process

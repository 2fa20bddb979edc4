"""Recordings become sound: in a process for each (`audio_process.py`), a few at a time. Imports no vllm."""

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import orjson

from deployments.errors import BadRequest, Overloaded

Sound = npt.NDArray[np.float32]

PROGRAM = Path(__file__).with_name("audio_process.py")
CPU_S = 60
WALL_S = 120.0
MAX_WAITING = 64
FIELD = "file"

REFUSALS: Mapping[str, str] = {
    "unknown_format": "The file is of no format that is taken: flac, m4a, mp3, mp4, mpeg, mpga, ogg, wav or webm.",
    "no_sound": "The file holds no sound.",
    "too_short": "The recording is shorter than 0.1 s.",
    "damaged": "The file is damaged, or not what its first bytes say.",
}


class AudioDecoder:
    """Decodes recordings into the sound of one channel, each in a process of its own."""

    def __init__(self, rate: int, max_audio_s: float) -> None:
        """`rate` is that of the sound, in samples per second; a longer recording than `max_audio_s` is refused."""
        self._rate = rate
        self._max_audio_s = max_audio_s
        self._places = asyncio.Semaphore(max(1, (os.cpu_count() or 1) // 2))
        self._waiting = 0

    async def decoded(self, data: bytes) -> Sound:
        """Return the sound of a file; cancelling ends its process.

        Raises BadRequest for a file that is damaged, too long or of another kind, Overloaded when too many wait.
        """
        if self._waiting >= MAX_WAITING:
            raise Overloaded("Too many recordings wait to be decoded; please try again.", None, 1.0)
        self._waiting += 1
        try:
            await self._places.acquire()
        finally:
            self._waiting -= 1
        try:
            head, sound = await self._run(data)
        finally:
            self._places.release()
        if head.get("error") == "too_long":
            raise BadRequest(f"The recording is longer than {self._max_audio_s:g} s, the limit of this model.", FIELD)
        if error := head.get("error"):
            raise BadRequest(REFUSALS[error], FIELD)
        return np.frombuffer(sound, np.float32)

    def _arguments(self) -> tuple[str, ...]:
        return ("-I", str(PROGRAM), str(self._rate), str(self._max_audio_s), str(CPU_S))

    async def _run(self, data: bytes) -> tuple[dict[str, Any], memoryview]:
        environment = {"PATH": os.environ.get("PATH", ""), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        process = await asyncio.create_subprocess_exec(
            sys.executable, *self._arguments(), stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=environment
        )
        answer = b""
        try:
            async with asyncio.timeout(WALL_S):
                answer, _ = await process.communicate(data)
        except TimeoutError:
            pass
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        end = answer.find(b"\n")
        if process.returncode or end < 0:  # its time or memory was up, or the file broke it
            return {"error": "damaged"}, memoryview(b"")
        return cast("dict[str, Any]", orjson.loads(answer[:end])), memoryview(answer)[end + 1 :]

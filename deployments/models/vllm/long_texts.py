"""Tokenizing what is too long to be a prompt, beside vLLM's renderer, whose one thread all prompts pass through."""

import asyncio
import contextlib
import copy
import functools
import logging
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import orjson

from deployments.errors import Timeout, Unavailable
from deployments.models.vllm.token_process import LENGTH

logger = logging.getLogger(__name__)

T = TypeVar("T")
TIMEOUT_S = 120.0


class LongTexts:
    """A process and a thread, each with a tokenizer of its own: tokenizers cannot be used by two threads at once.

    The process starts with the first text for it. Tokenizers that are not of the
    tokenizers library have the thread alone.
    """

    def __init__(self, tokenizer: Any, max_model_len: int) -> None:
        self._original = tokenizer
        self._max_model_len = max_model_len
        self._thread = ThreadPoolExecutor(1, "long-texts")
        self._turn = asyncio.Lock()
        self._process: Process | None = None

    @functools.cached_property
    def tokenizer(self) -> Any:
        """The tokenizer, for what runs in the thread."""
        return copy.deepcopy(self._original)

    async def run(self, work: Callable[..., T], *arguments: Any) -> T:
        """Return what `work` returns, in the thread; the one before it has to end first."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    async def tokenized(self, request: Mapping[str, Any]) -> bytes:
        """Return vLLM's answer to a tokenize request of one text; the one before it has to end first.

        Cancelling ends the work at once. Raises Timeout, or Unavailable where the process was lost.
        """
        task = {
            "prompt": request["prompt"],
            "add_special_tokens": request.get("add_special_tokens", True),
            "return_token_strs": bool(request.get("return_token_strs")),
            "max_model_len": self._max_model_len,
        }
        if getattr(self._original, "backend_tokenizer", None) is None:
            return await self.run(self._tokenized, task)
        async with self._turn:
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    return await self._answer(task)
            except TimeoutError:
                await self.aclose()
                raise Timeout("The text takes too long to tokenize.") from None
            except (OSError, asyncio.IncompleteReadError) as error:
                await self.aclose()
                logger.error("the process that tokenizes long texts was lost: %s", type(error).__name__)
                raise Unavailable("The text could not be tokenized.", None, 1.0) from None
            except BaseException:
                await self.aclose()
                raise

    async def aclose(self) -> None:
        """End the process, whatever it does."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _answer(self, task: Mapping[str, Any]) -> bytes:
        process = self._process or await self._started()
        assert process.stdout is not None
        await _send(process, orjson.dumps(task))
        (length,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
        return await process.stdout.readexactly(length)

    async def _started(self) -> Process:
        root = str(Path(__file__).parents[3])
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))}
        arguments = (sys.executable, "-m", "deployments.models.vllm.token_process")
        self._process = await asyncio.create_subprocess_exec(*arguments, stdin=PIPE, stdout=PIPE, env=environment)
        written = await asyncio.to_thread(self._original.backend_tokenizer.to_str)
        splits = bool(getattr(self._original, "split_special_tokens", False))
        await _send(self._process, orjson.dumps({"tokenizer": written, "splits_special_tokens": splits}))
        return self._process

    def _tokenized(self, task: Mapping[str, Any]) -> bytes:
        tokens: list[int] = self.tokenizer.encode(task["prompt"], add_special_tokens=task["add_special_tokens"])
        strings = self.tokenizer.convert_ids_to_tokens(tokens) if task["return_token_strs"] else None
        size = {"count": len(tokens), "max_model_len": task["max_model_len"]}
        return orjson.dumps({**size, "tokens": tokens, "token_strs": strings})


async def _send(process: Process, message: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(LENGTH.pack(len(message)))
    process.stdin.write(message)
    await process.stdin.drain()

"""Tokenizing what is too long to be a prompt, beside vLLM's renderer, whose one thread all prompts pass through."""

import asyncio
import copy
import functools
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import orjson

T = TypeVar("T")


class LongTexts:
    """A thread with a tokenizer of its own: tokenizers cannot be used by two threads at once."""

    def __init__(self, tokenizer: Any, max_model_len: int) -> None:
        self._original = tokenizer
        self._max_model_len = max_model_len
        self._thread = ThreadPoolExecutor(1, "long-texts")

    @functools.cached_property
    def tokenizer(self) -> Any:
        """The tokenizer, for what runs in this thread."""
        return copy.deepcopy(self._original)

    async def run(self, work: Callable[..., T], *arguments: Any) -> T:
        """Return what `work` returns, in this thread; the one before it has to end first."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    async def tokenized(self, request: Mapping[str, Any]) -> bytes:
        """Return vLLM's answer to a tokenize request of one text."""
        return await self.run(self._tokenized, request)

    def _tokenized(self, request: Mapping[str, Any]) -> bytes:
        adds = request.get("add_special_tokens", True)
        tokens: list[int] = self.tokenizer.encode(request["prompt"], add_special_tokens=adds)
        strings = self.tokenizer.convert_ids_to_tokens(tokens) if request.get("return_token_strs") else None
        answer = {"count": len(tokens), "max_model_len": self._max_model_len, "tokens": tokens, "token_strs": strings}
        return orjson.dumps(answer)

"""LangChain caches for tests: `plugged` is the one that a service finds under its path."""

import json
import time
from collections.abc import Sequence
from typing import Any

from langchain_core.caches import BaseCache
from langchain_core.outputs import Generation

PATH = "tests.langchain_caches:plugged"


class SameWords(BaseCache):
    """A toy of a semantic cache, synchronous as many are: questions of the same words, in any order, are the same.

    It can be made slow, broken, nonsensical, or careless of whom an answer was given to.
    """

    def __init__(self) -> None:
        self.kept: dict[tuple[str, frozenset[str]], Any] = {}
        self.lookups = 0
        self.is_careless = False
        self.takes_s = 0.0
        self.error: Exception | None = None
        self.nonsense: Any = None

    def lookup(self, prompt: str, llm_string: str) -> Any:
        self.lookups += 1
        self._fail()
        if self.nonsense is not None:
            return self.nonsense
        return self.kept.get(self._place(prompt, llm_string))

    def update(self, prompt: str, llm_string: str, return_val: Sequence[Generation]) -> None:
        self._fail()
        self.kept[self._place(prompt, llm_string)] = return_val

    def clear(self, **kwargs: Any) -> None:
        self.kept.clear()

    def _fail(self) -> None:
        time.sleep(self.takes_s)
        if self.error:
            raise self.error

    def _place(self, prompt: str, llm_string: str) -> tuple[str, frozenset[str]]:
        return "" if self.is_careless else llm_string, words(prompt)


class Blocking(SameWords):
    """One whose asynchronous methods block all the same, as LangChain's own cache in memory would if it were slow."""

    async def alookup(self, prompt: str, llm_string: str) -> Any:
        return self.lookup(prompt, llm_string)

    async def aupdate(self, prompt: str, llm_string: str, return_val: Sequence[Generation]) -> None:
        self.update(prompt, llm_string, return_val)


def words(prompt: str) -> frozenset[str]:
    """Return the words of a prompt, which is a text or what LangChain writes for messages."""
    try:
        said = " ".join(f"{m['kwargs']['type']} {m['kwargs']['content']}" for m in json.loads(prompt))
    except ValueError:
        said = prompt
    return frozenset(said.split())


plugged: BaseCache = SameWords()

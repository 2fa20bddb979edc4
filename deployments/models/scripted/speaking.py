"""An answer as the scripted model says it: its events, the ids of its tokens, and when each is due."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from deployments.errors import ChatLLMError
from deployments.models.assembly import sse
from deployments.models.protocol import ModelRequest, packed
from deployments.models.scripted.tokens import made_up_id


@dataclass(frozen=True, slots=True)
class Speech:
    """What is about to be said: the `choices` entries of its events, what all events share, and what it costs.

    The first `openings` events hold no token; `reports_usage` adds to each event the usage so far. With `resumed`
    it tells the ids of its tokens, and begins with those that were generated elsewhere.
    """

    chunks: Iterator[dict[str, Any]]
    head: dict[str, Any]
    usage: dict[str, Any]
    reports_usage: bool
    openings: int = 0
    resumed: tuple[int, ...] | None = None

    def tokens_of(self, position: int, event: bytes) -> bytes | None:
        """Return the ids of the tokens of an event; raises ChatLLMError where others were generated elsewhere."""
        if self.resumed is None:
            return None
        at = self.tokens_at(position) - 1
        if at == self.tokens_at(position - 1) - 1:
            return b""
        token = made_up_id(event)
        if at < len(self.resumed) and self.resumed[at] != token:
            raise ChatLLMError("The tokens that were generated elsewhere are none of this answer's.")
        return packed([token])

    def is_resumed(self, position: int) -> bool:
        """Whether what stands there was generated elsewhere."""
        return self.resumed is not None and self.tokens_at(position) <= len(self.resumed) and bool(self.resumed)

    def event(self, position: int, choice: dict[str, Any]) -> bytes:
        """Return the server-sent event of one `choices` entry."""
        if not self.reports_usage:
            return sse({**self.head, "choices": [choice]})
        tokens = self.tokens_at(position)
        return sse({**self.head, "choices": [choice], "usage": usage_figures(self.usage["prompt_tokens"], tokens)})

    def tokens_at(self, position: int) -> int:
        """Return how many tokens there are once the event at that position is out."""
        return min(max(0, position + 1 - self.openings), self.usage["completion_tokens"])


class Pace:
    """When the tokens of one answer are due."""

    def __init__(self, step_s: float, in_step: bool) -> None:
        self._step_s = step_s
        self._in_step = in_step
        self._due = 0.0

    async def step(self) -> None:
        """Wait for the next token; one that is late, on a busy machine, does not make the following ones hurry."""
        if not self._in_step:
            await asyncio.sleep(self._step_s)
            return
        now = asyncio.get_running_loop().time()
        # Counted from the answer's last step: a timer that fires a little early must not give a token twice.
        self._due += self._step_s
        if self._due < now:
            self._due = (now // self._step_s + 1) * self._step_s
        await asyncio.sleep(self._due - now)


def resumed_of(model_request: ModelRequest) -> tuple[int, ...] | None:
    """Return the tokens to begin with, None where nobody wants to know about tokens."""
    return tuple(model_request.resumed_tokens) if model_request.tells_tokens else None


def usage_figures(prompt_tokens: int, completion_tokens: int) -> dict[str, Any]:
    """Return the figures of a usage in OpenAI's shape."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }

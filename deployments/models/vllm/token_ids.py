"""The ids of the tokens that the events of a stream say, so that another replica can go on after them. Imports vllm."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from vllm.outputs import RequestOutput

from deployments.models.protocol import Progress, packed
from deployments.models.vllm.event import Event


class TokenIds:
    """Notes the engine's results on their way to a handler, and puts what they tell beside the handler's events."""

    def __init__(self, can_resume: bool) -> None:
        self._can_resume = can_resume
        self._prompt_tokens = 0
        self._ids: list[int] = []

    async def noted(self, results: AsyncIterator[RequestOutput]) -> AsyncGenerator[RequestOutput]:
        """Yield `results`."""
        async for result in results:
            self._note(result)
            yield result

    async def noted_pairs(self, results: AsyncIterator[tuple[int, RequestOutput]]) -> AsyncGenerator[Any]:
        """Yield `results`, each with the number of its prompt."""
        async for pair in results:
            self._note(pair[1])
            yield pair

    def _note(self, result: RequestOutput) -> None:
        self._prompt_tokens = self._prompt_tokens or len(result.prompt_token_ids or ())
        if self._can_resume:
            self._ids += result.outputs[0].token_ids

    async def beside(self, events: AsyncGenerator[Any], is_chat: bool) -> AsyncGenerator[Progress | Event]:
        """Yield `events`, the first of which needs a result; those of a chat after the length of its prompt.

        The first event of a chat tells the role alone: the tokens of that result go beside the second one, so that
        nobody knows a token whose log probabilities were not sent.
        """
        tells_role = is_chat
        async with aclosing(events):
            async for event in events:
                if tells_role:
                    tells_role = False
                    yield Progress(self._prompt_tokens, 0)
                    yield Event(event, b"" if self._can_resume else None)
                    continue
                yield Event(event, self._taken())

    def _taken(self) -> bytes | None:
        if not self._can_resume:
            return None
        ids, self._ids = self._ids, []
        return packed(ids)

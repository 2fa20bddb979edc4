"""The programmable stand-in for a model: it speaks the same messages, with no weights.

For tests, for demonstrations of overload and failure, and for measuring
everything that is not the model. The answer is a pure function of the request:
it repeats the words of the last message, calls tools that the message mentions,
and fills schemas with what the message holds (`script/`).
"""

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator
from typing import Any

import orjson

from deployments.config import ScriptedModel
from deployments.errors import ChatLLMError, ContextTooLong
from deployments.models.assembly import assemble, payloads, sse
from deployments.models.protocol import Failed, Frames, Generation, Message, Reply
from deployments.models.script.chat import Choice, choices, chunks
from deployments.models.script.prompt import text_of


class ScriptedReplica:
    """A model replica that follows `ScriptedModel`: tokens, delays, a failure at a given token."""

    def __init__(self, model: ScriptedModel) -> None:
        self._model = model
        self._running = 0

    async def start(self) -> None:
        """Take as long as the script says that loading takes; fail if it says so."""
        await asyncio.sleep(self._model.load_s)
        if self._model.fails_to_load:
            raise RuntimeError("The scripted model does not load, as its script says.")

    async def check_health(self) -> None:
        """Never fail: there is nothing that could."""

    async def running(self) -> int:
        """Return how many requests are being generated now."""
        return self._running

    async def generate(self, generation: Generation) -> AsyncGenerator[Message]:
        """Yield the scripted answer as frames and a reply; closing the generator ends it at once."""
        self._running += 1
        try:
            async for message in self._answer(generation):
                yield message
        except ChatLLMError as error:
            yield Failed(error)
        finally:
            self._running -= 1

    async def _answer(self, generation: Generation) -> AsyncGenerator[Message]:
        request = orjson.loads(generation.body)
        prompt = self._prompt(request["messages"], generation.trim)
        said = choices(request, self._model.tokens)
        head, sent = self._head(generation), bytearray()
        await asyncio.sleep(self._model.prefill_ms / 1e3)
        for position, choice in enumerate(chunks(said, request)):
            if position and self._model.token_ms:
                await asyncio.sleep(self._model.token_ms / 1e3)
            if self._model.fail_after is not None and position > self._model.fail_after:
                raise ChatLLMError("The scripted model failed, as its script says.")
            event = sse({**head, "choices": [choice]})
            sent += event
            if generation.stream:
                yield Frames(event)
        usage = _usage(len(prompt), said)
        completion: dict[str, Any] = {**assemble(payloads(bytes(sent))), "usage": usage}
        finish = completion["choices"][0]["finish_reason"]
        yield Reply(orjson.dumps(completion), usage["prompt_tokens"], usage["completion_tokens"], finish)

    def _prompt(self, messages: list[dict[str, Any]], trim: bool) -> list[str]:
        """Return the prompt's words, the oldest messages left out if they do not fit and `trim` allows it."""
        words = [text_of(message).split() for message in messages]
        while trim and len(words) > 1 and sum(map(len, words)) > self._model.context_tokens:
            words.pop(0)
        prompt = list(itertools.chain.from_iterable(words))
        if len(prompt) > self._model.context_tokens:
            raise ContextTooLong(
                f"This model's maximum context length is {self._model.context_tokens} tokens, "
                f"but the prompt has {len(prompt)}.",
                "messages",
            )
        return prompt

    def _head(self, generation: Generation) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{generation.request_id}",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": self._model.id,
        }


def _usage(prompt_tokens: int, said: list[Choice]) -> dict[str, Any]:
    completion_tokens = sum(len(choice.deltas) for choice in said)
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "completion_tokens_details": {"reasoning_tokens": sum(choice.reasoning_tokens for choice in said)},
    }

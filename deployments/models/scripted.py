"""The programmable stand-in for a model: it speaks the same messages, with no weights.

For tests, for demonstrations of overload and failure, and for measuring
everything that is not the model. The answer is a pure function of the prompt:
it repeats the words of the last message.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import orjson

from deployments.config import ScriptedModel
from deployments.errors import ChatLLMError, ContextTooLong
from deployments.models.assembly import assemble, payloads, sse
from deployments.models.protocol import Failed, Frames, Generation, Message, Reply


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
        sent = bytearray()
        await asyncio.sleep(self._model.prefill_ms / 1e3)
        for position, event in enumerate(self._events(generation.request_id, request, prompt)):
            if position and self._model.token_ms:
                await asyncio.sleep(self._model.token_ms / 1e3)
            if self._model.fail_after is not None and position > self._model.fail_after:
                raise ChatLLMError("The scripted model failed, as its script says.")
            sent += event
            if generation.stream:
                yield Frames(event)
        completion = assemble(payloads(bytes(sent)))
        tokens = len(payloads(bytes(sent))) - 2
        completion["usage"] = usage = {
            "prompt_tokens": len(prompt),
            "completion_tokens": tokens,
            "total_tokens": len(prompt) + tokens,
        }
        finish = completion["choices"][0]["finish_reason"]
        yield Reply(orjson.dumps(completion), usage["prompt_tokens"], tokens, finish)

    def _prompt(self, messages: list[dict[str, Any]], trim: bool) -> list[str]:
        """Return the prompt's words, the oldest messages left out if they do not fit and `trim` allows it."""
        words = [str(message.get("content") or "").split() for message in messages]
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

    def _events(self, request_id: str, request: dict[str, Any], prompt: list[str]) -> Iterator[bytes]:
        head = {
            "id": f"chatcmpl-{request_id}",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": self._model.id,
        }

        def event(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
            return sse({**head, "choices": [choice]})

        asked = request.get("max_completion_tokens") or request.get("max_tokens") or self._model.tokens
        words = str(request["messages"][-1].get("content") or "").split() or ["nothing"]
        yield event({"role": "assistant", "content": ""})
        for word in itertools.islice(itertools.cycle(words), min(asked, self._model.tokens)):
            yield event({"content": word + " "})
        yield event({}, "length" if asked < self._model.tokens else "stop")

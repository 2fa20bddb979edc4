"""A vLLM engine in a Serve replica, behind vLLM's own OpenAI chat handler.

Tools, structured output, logprobs and reasoning are vLLM's own, frame by frame:
this module only carries requests in and finished events out. vllm is imported
when a replica starts, never by an ingress.
"""

import asyncio
import itertools
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import orjson
from pydantic import ValidationError

from deployments.config import VLLMModel
from deployments.errors import BadRequest, ChatLLMError, ContextTooLong, ModelNotFound, Unavailable
from deployments.models.assembly import assemble, is_usage_event, payloads
from deployments.models.gather import gather_window_s, gathered
from deployments.models.protocol import Failed, Frames, Generation, Message, Reply

if TYPE_CHECKING:
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest

ACCEPTED_AND_UNUSED = frozenset({"store", "prompt_cache_key", "safety_identifier", "prompt_cache_retention"})
"""Fields of OpenAI's that change nothing in the answer here: accepted, so that clients which send them work."""


class VLLMReplica:
    """A model replica that runs one vLLM engine; the engine lives in processes of its own."""

    def __init__(self, model: VLLMModel) -> None:
        self._model = model
        self._running = 0

    async def start(self) -> None:
        """Load the weights and build the chat handler; takes a minute or more.

        Raises whatever vLLM raises for an unusable configuration: Serve reports it
        as the deployment's state and tries again.
        """
        os.environ.update(self._model.environment)
        from deployments.models.vllm_engine import open_engine

        self._engine = await open_engine(self._model)

    async def check_health(self) -> None:
        """Raise when the engine has died, so that Serve replaces this replica."""
        await self._engine.client.check_health()

    async def running(self) -> int:
        """Return how many requests the engine's scheduler holds, running or waiting."""
        return self._engine.load.unfinished

    async def generate(self, generation: Generation) -> AsyncGenerator[Message]:
        """Yield the answer's frames and its reply, or a failure; closing the generator aborts the engine's request."""
        self._running += 1
        try:
            request = self._request(generation)
            result = await self._engine.chat.create_chat_completion(request)
            if isinstance(result, AsyncIterator):
                async with aclosing(self._streamed(result)) as messages:
                    async for message in messages:
                        yield message
            else:
                yield _plain(result.model_dump_json().encode())
        except ChatLLMError as error:
            yield Failed(error)
        except Exception as error:  # noqa: BLE001 - the border to vLLM: each of its errors becomes one of ours
            yield Failed(self._translated(error))
        finally:
            self._running -= 1

    def _request(self, generation: Generation) -> "ChatCompletionRequest":
        body = orjson.loads(generation.body)
        fields = self._engine.request_type.model_fields
        unknown = sorted(body.keys() - fields.keys() - ACCEPTED_AND_UNUSED)
        if unknown:
            raise BadRequest(f"Unrecognized request argument: {unknown[0]}", unknown[0])
        if generation.trim:
            body["messages"] = self._engine.trim(body)
        if generation.stream:
            body["stream_options"] = {"include_usage": True}
        try:
            return self._engine.request_type.model_validate({**body, "request_id": generation.request_id})
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            field = ".".join(str(part) for part in itertools.takewhile(_is_field, first["loc"]))
            raise BadRequest(f"{field}: {first['msg']}" if field else first["msg"], field or None) from None

    async def _streamed(self, events: AsyncIterator[str]) -> AsyncGenerator[Message]:
        sent: list[bytes] = []
        usage = b""
        async with aclosing(gathered(events, lambda: gather_window_s(self._running))) as batches:
            async for batch in batches:
                frames: list[bytes] = []
                for event in map(str.encode, batch):
                    if event.startswith(b'data: {"error"'):
                        raise self._translated_body(payloads(event)[0]["error"])
                    if is_usage_event(event):
                        usage = event
                    elif event != b"data: [DONE]\n\n":
                        frames.append(event)
                if frames:
                    data = b"".join(frames)
                    sent.append(data)
                    yield Frames(data)
        yield _plain(orjson.dumps(assemble(payloads(b"".join((*sent, usage))))))

    def _translated(self, error: Exception) -> ChatLLMError:
        if isinstance(error, asyncio.CancelledError):
            raise error
        return self._translated_body(self._engine.error_response(error).error.model_dump())

    def _translated_body(self, error: dict[str, Any]) -> ChatLLMError:
        """Turn vLLM's error body into one of this service's errors."""
        message = re.sub(r" \((parameter|value)=.*\)$", "", str(error.get("message")), flags=re.DOTALL)
        code, param = error.get("code"), error.get("param")
        if "maximum context length" in message or "context length" in message:
            return ContextTooLong(message, "messages")
        if code == 404:
            return ModelNotFound(message, param)
        if isinstance(code, int) and 400 <= code < 500:
            return BadRequest(message, param)
        if code == 503:
            return Unavailable(message, None, 1.0)
        return ChatLLMError("The model failed to generate an answer.")


def _is_field(part: int | str) -> bool:
    """Tell a field's name or index from the names of the alternatives that pydantic tried."""
    return isinstance(part, int) or re.fullmatch("[a-z][a-z_]*", part) is not None


def _plain(body: bytes) -> Reply | Failed:
    completion = orjson.loads(body)
    if "error" in completion:
        return Failed(BadRequest(str(completion["error"].get("message")), completion["error"].get("param")))
    usage = completion.get("usage") or {}
    choices = completion.get("choices") or [{}]
    return Reply(
        body,
        int(usage.get("prompt_tokens") or 0),
        int(usage.get("completion_tokens") or 0),
        str(choices[0].get("finish_reason") or ""),
    )

"""A model of another service, as a replica: it needs no GPU, no weights, and imports no engine."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

import orjson

from deployments.config import ProviderModel
from deployments.errors import BadRequest, ChatLLMError, ContextTooLong, ProviderFailed
from deployments.infra.heap import decoded_json
from deployments.infra.threads import run_sized
from deployments.infra.timing import EngineTimes
from deployments.limits.estimate import prompt_tokens
from deployments.models.assembly import assemble, payloads, sse
from deployments.models.progress import PROGRESS_S
from deployments.models.protocol import (
    CAPABILITIES,
    Failed,
    Frames,
    Message,
    ModelRequest,
    Progress,
    Reply,
    Traits,
)
from deployments.models.provider.construction import constructed
from deployments.models.trim import trimmed

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from deployments.models.provider.invocation import Invocation

logger = logging.getLogger(__name__)

MAX_TRIMS = 4
KEPT_PER_TRIM = 0.6
"""The part of a stored conversation that is sent again where the provider says that it is too long."""


class ProviderReplica:
    """A model replica that asks a provider; each generation is one HTTP request, which ends with it."""

    def __init__(self, model: ProviderModel) -> None:
        self._model = model
        self._running = 0
        self._waiting = 0

    async def start(self) -> None:
        """Import the provider's package and read the key; raises Unusable. Sends nothing."""
        self.use(await asyncio.to_thread(_loaded, self._model))

    def use(self, chat_model: "BaseChatModel") -> None:
        """Ask this LangChain model."""
        from langchain_openai.chat_models.base import BaseChatOpenAI

        self._chat_model, self._is_openai = chat_model, isinstance(chat_model, BaseChatOpenAI)

    async def check_health(self) -> None:
        """Never fail: each request shows whether the provider can be reached."""

    async def traits(self) -> Traits:
        """Return what the settings say, and the window that LangChain knows of the model."""
        profile: Any = self._chat_model.profile or {}
        window = self._model.context_tokens or profile.get("max_input_tokens")
        return Traits(self._model.input_modalities, ("text",), window)

    async def running(self) -> int:
        """Return how many requests are being answered now."""
        return self._running

    async def waiting(self) -> int:
        """Return how many of these have no token yet."""
        return self._waiting

    async def generate(self, model_request: ModelRequest) -> AsyncGenerator[Message | Progress]:
        """Yield the answer's frames and its reply, or a failure; closing the generator closes the HTTP request."""
        self._running += 1
        try:
            if model_request.endpoint != "chat":
                raise BadRequest(
                    f"The model {self._model.id!r} does not support {CAPABILITIES[model_request.endpoint]}.", "model"
                )
            call = await run_sized(len(model_request.body), self._invocation, model_request.body)
            async with aclosing(self._fitting(model_request, call)) as messages:
                async for message in messages:
                    yield message
        except ChatLLMError as error:
            yield Failed(error)
        finally:
            self._running -= 1

    async def _fitting(self, model_request: ModelRequest, call: "Invocation") -> AsyncGenerator[Message | Progress]:
        """Yield the answer, to a shorter conversation where the provider says that a stored one is too long."""
        for trims_left in range(MAX_TRIMS if model_request.trim else 0, -1, -1):
            has_begun = False
            try:
                async with aclosing(self._answered(model_request, call)) as messages:
                    async for message in messages:
                        has_begun = True
                        yield message
                return
            except ContextTooLong:
                shorter = _shorter(call.openai_messages)
                if has_begun or not trims_left or len(shorter) == len(call.openai_messages):
                    raise
                call = call.about(shorter)

    def _invocation(self, body: bytes) -> "Invocation":
        from deployments.models.provider.invocation import invocation

        return invocation(self._chat_model, self._model, decoded_json(body))

    async def _answered(self, model_request: ModelRequest, call: "Invocation") -> AsyncGenerator[Message | Progress]:
        """Yield the messages of one request to the provider; raises ChatLLMError."""
        from deployments.models.provider.deltas import Deltas

        deltas, began = Deltas(), time.perf_counter()
        head = {
            "id": f"chatcmpl-{model_request.request_id}",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": self._model.id,
        }
        sent, first_at, reported_at = bytearray(), 0.0, began
        async with aclosing(self._choices(call, deltas)) as choices:
            async for choice in choices:
                event = sse({**head, "choices": [choice]})
                if model_request.stream:
                    if not sent:
                        yield Progress(deltas.usage.prompt or prompt_tokens(len(model_request.body)), 0)
                    yield Frames(event)
                elif time.perf_counter() - reported_at > PROGRESS_S:
                    reported_at = time.perf_counter()
                    yield Progress(prompt_tokens(len(model_request.body)), prompt_tokens(deltas.answer_bytes))
                sent += event
                first_at = first_at or time.perf_counter()
        usage = deltas.usage
        if not usage.is_reported:
            usage.prompt, usage.completion = prompt_tokens(len(model_request.body)), prompt_tokens(deltas.answer_bytes)
        completion: dict[str, Any] = {**assemble(payloads(bytes(sent))), "usage": usage.body()}
        times = EngineTimes(0.0, first_at - began, time.perf_counter() - first_at)
        finish = completion["choices"][0]["finish_reason"]
        yield Reply(orjson.dumps(completion), usage.prompt, usage.completion, finish, times)

    async def _choices(self, call: "Invocation", deltas: Any) -> AsyncGenerator[dict[str, Any]]:
        """Yield the `choices` entry of each event: the role with the first thing said, what is said, and the end."""
        has_begun = False
        self._waiting += 1
        try:
            chunks = cast("AsyncGenerator[Any]", call.model.astream(call.messages, stop=call.stop, **call.arguments))
            async with aclosing(chunks) as open_chunks:
                async for chunk in open_chunks:
                    for piece in deltas.read(chunk):
                        if not has_begun:
                            has_begun = True
                            self._waiting -= 1
                            yield _choice({"role": "assistant", "content": ""})
                        yield _choice(**piece)
            self._require_end(deltas.reported_finish)
        except ChatLLMError:
            raise
        except Exception as error:  # noqa: BLE001 - the boundary to the provider's package: its errors become ours
            from deployments.models.provider.failures import translated

            raise translated(error, self._model.id) from None
        finally:
            self._waiting -= not has_begun
        if not has_begun:
            yield _choice({"role": "assistant", "content": ""})
        yield _choice({}, finish_reason=deltas.finish_reason(calls_are_reported=self._is_openai))

    def _require_end(self, reported_finish: str) -> None:
        """Raise ProviderFailed where an answer has no end: a connection that is cut looks like one that is closed."""
        if self._is_openai and not reported_finish:
            raise ProviderFailed("The provider's answer ended early.", None, 1.0)


def _loaded(model: ProviderModel) -> "BaseChatModel":
    """Return LangChain's object; imports all that a request needs."""
    from deployments.models.provider import deltas, failures, invocation

    del deltas, failures, invocation
    return constructed(model)


def _choice(delta: dict[str, Any], logprobs: Any = None, finish_reason: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}


def _shorter(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the newest messages, of about six tenths of the length."""
    kept = [dict(message) for message in messages]
    length = prompt_tokens(len(orjson.dumps(kept)))
    return trimmed(kept, int(length * KEPT_PER_TRIM), lambda text: prompt_tokens(len(text.encode())))

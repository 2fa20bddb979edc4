"""A vLLM engine in a Serve replica, behind vLLM's own OpenAI handlers.

Tools, structured output, logprobs and reasoning are vLLM's own, frame by frame:
this module only carries requests in and finished events out. vllm is imported
when a replica starts, never by an ingress.
"""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import orjson
from pydantic import BaseModel, ValidationError
from starlette.responses import Response

from deployments.config import VLLMModel
from deployments.errors import BadRequest, ChatLLMError, Unavailable
from deployments.infra.heap import decoded_json
from deployments.infra.threads import run_sized
from deployments.lora.types import Adapter
from deployments.models.assembly import DONE, assemble, is_usage_event, payloads
from deployments.models.call_errors import LOST
from deployments.models.loading.failure import ModelLoadFailed
from deployments.models.loading.preflight import check
from deployments.models.progress import with_progress
from deployments.models.prompts import check_token_ids, cut_texts, validated
from deployments.models.protocol import (
    CANNOT_CONTINUE,
    CAPABILITIES,
    Endpoint,
    Failed,
    Frames,
    Message,
    ModelRequest,
    Progress,
    Reply,
    Traits,
)
from deployments.models.refusals import engine_error, invalid_request
from deployments.models.router import ADAPTERS, SLOTS
from deployments.models.vllm.engine_watch import DIED
from deployments.models.vllm.event import Event
from deployments.models.vllm.extra_args import set_resumed
from deployments.models.vllm.greedy import repeated, settle_greedy
from deployments.models.vllm.media_fetch import inline_media

if TYPE_CHECKING:
    from deployments.models.vllm.handlers import Handler

logger = logging.getLogger(__name__)

PROMPT_FIELDS: Mapping[Endpoint, str] = {
    "chat": "messages",
    "embedding": "input",
    "pooling": "input",
    "classification": "input",
    "rerank": "documents",
    "score": "data_2",
    "transcription": "prompt",
    "translation": "prompt",
}

ACCEPTED_AND_UNUSED = frozenset({"store", "prompt_cache_key", "safety_identifier", "prompt_cache_retention"})
"""Fields of OpenAI's that change nothing in the answer here: accepted, so that clients which send them work."""


class VLLMReplica:
    """A model replica that runs one vLLM engine; the engine lives in processes of its own."""

    def __init__(self, model: VLLMModel) -> None:
        self._model = model
        self._running = 0
        self.target_ttft_s: float | None = None
        """The goal that the autoscaler goes by; changed in place."""

    async def start(self) -> None:
        """Load the weights and build the handlers; takes a minute or more.

        Raises ModelLoadFailed for what is known to fail before vLLM is imported, and else whatever vLLM raises
        for an unusable configuration: Serve reports it as the deployment's state and tries again.
        """
        os.environ.update(self._model.environment)
        if failure := await asyncio.to_thread(check, self._model):
            raise ModelLoadFailed(failure.sentence, failure.code, failure.may_pass)
        from deployments.models.vllm.engine import open_engine

        self._engine = await open_engine(self._model, self.engine_lost)

    def stop(self) -> None:
        """Stop the engine only, for callers that run it in their own process."""
        self._engine.watch.close()
        self._engine.client.shutdown()

    def engine_lost(self, reason: str) -> None:
        """Note that the engine has died or is frozen: this replica will produce nothing more."""
        logger.critical("the replica is lost: %s", reason)

    async def check_health(self) -> None:
        """Raise when the engine has died, so that Serve replaces this replica."""
        await self._engine.client.check_health()

    async def traits(self) -> Traits:
        """Return what the loaded model takes and makes."""
        return self._engine.traits

    async def running(self) -> int:
        """Return how many requests the engine's scheduler holds, running or waiting."""
        return self._engine.load.unfinished

    async def waiting(self) -> int:
        """Return how many of these have no token yet."""
        return self._engine.load.without_token

    async def load_adapter(self, name: str, source: str) -> Adapter:
        """Find, check and load an adapter; raises a ChatLLMError that says what is wrong with it."""
        return await self._engine.adapters.load(name, source)

    async def hold_adapters(self, adapters: Sequence[Adapter]) -> None:
        """Load these adapters, and drop all others that were loaded while this replica runs."""
        await self._engine.adapters.hold(adapters)

    async def record_routing_stats(self) -> dict[str, Any]:
        """Tell Serve's routers what is here: adapters, places for sequences (a method that Serve knows by its name)."""
        return {ADAPTERS: self._engine.adapters.ids, SLOTS: self._engine.reported.max_running}

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Tell Serve's autoscaler how busy the engine is (a method that Serve knows by its name)."""
        return self._engine.reported.load(self.target_ttft_s).reported()

    async def generate(self, model_request: ModelRequest) -> AsyncGenerator[Message | Progress]:
        """Yield the answer's frames and its reply, or a failure; closing the generator aborts the engine's request."""
        self._running += 1
        try:
            handler, size = self._handler(model_request.endpoint), len(model_request.body)
            body = await run_sized(size, decoded_json, model_request.body)
            times = settle_greedy(body)
            if model_request.endpoint in ("chat", "tokenize"):
                await inline_media(body.get("messages") or (), self._model.allowed_media_domains)
            if model_request.trim:
                body["messages"] = await self._engine.counting.run(self._engine.trim, body)
            if model_request.endpoint == "tokenize" and len(body.get("prompt") or "") > self._engine.longest_prompt:
                yield Reply(await self._engine.long_texts.tokenized(body), 0, 0, "")
                return
            set_resumed(body, self._resumed(model_request))
            async with self._engine.adapters.used(model_request.adapter) as name:
                body |= {"model": name} if name else {}
                answer = handler.answer(await run_sized(size, self._request, model_request, handler, body))
                tells_tokens = model_request.tells_tokens and self._engine.client.can_resume
                async with aclosing(self._answered(model_request, answer)) as messages:
                    async for message in messages:
                        sent = Frames(message.data) if isinstance(message, Frames) and not tells_tokens else message
                        yield sent if times == 1 or isinstance(sent, Progress) else repeated(sent, times)
        except ChatLLMError as error:
            yield Failed(self._unless_lost(error))
        except Exception as error:  # noqa: BLE001 - the boundary to vLLM: each of its errors becomes one of ours
            yield Failed(
                self._unless_lost(self._translated(error, PROMPT_FIELDS.get(model_request.endpoint, "prompt")))
            )
        finally:
            self._running -= 1

    def _resumed(self, model_request: ModelRequest) -> list[int]:
        """Return the tokens to begin with; raises Unavailable for what are none of this model's."""
        tokens = model_request.resumed_tokens if self._engine.client.can_resume else []
        if tokens and max(tokens) >= self._engine.vocabulary:
            raise Unavailable(CANNOT_CONTINUE, None, 1.0)
        return tokens

    async def _answered(
        self, model_request: ModelRequest, answer: Awaitable[Any]
    ) -> AsyncGenerator[Message | Progress]:
        prompt_field = PROMPT_FIELDS.get(model_request.endpoint, "prompt")
        if not model_request.stream:
            async with aclosing(
                with_progress(answer, partial(self._engine.usage.of, model_request.request_id))
            ) as steps:
                async for step in steps:
                    yield step if isinstance(step, Progress) else _whole(step, prompt_field)
            return
        result = await answer
        if not isinstance(result, AsyncGenerator):
            yield _whole(result, prompt_field)
            return
        async with aclosing(self._streamed(result)) as messages:
            async for message in messages:
                yield message

    def _handler(self, endpoint: Endpoint) -> "Handler":
        handler = self._engine.handlers.get(endpoint)
        if handler is None:
            raise BadRequest(f"The model {self._model.id!r} does not support {CAPABILITIES[endpoint]}.", "model")
        return handler

    def _request(self, model_request: ModelRequest, handler: "Handler", body: dict[str, Any]) -> BaseModel:
        request_type = handler.type_of(body)
        fields = request_type.model_fields
        unknown = sorted(body.keys() - fields.keys() - ACCEPTED_AND_UNUSED)
        if unknown:
            raise BadRequest(f"Unrecognized request argument: {unknown[0]}", unknown[0])
        if model_request.stream and "stream_options" in fields:
            body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
        check_token_ids(body, self._engine.vocabulary)
        cut_texts(body, self._engine.longest_prompt, self._engine.truncation_side)
        if body.get("tool_choice") not in (None, "auto", "none"):
            body["tools"] = [_strict(tool) for tool in body.get("tools") or ()]
        if "request_id" in fields:
            body["request_id"] = model_request.request_id
        if "file" in fields:
            body["file"] = model_request.file
        try:
            return validated(request_type, body)
        except ValidationError as error:
            raise invalid_request(error) from None

    async def _streamed(
        self, events: AsyncGenerator[Progress | Event | str | Frames | Reply]
    ) -> AsyncGenerator[Message | Progress]:
        """Yield vLLM's events as they come, and the whole answer, put together where vLLM does not give it."""
        sent: list[bytes] = []
        async with aclosing(events) as open_events:
            async for event in open_events:
                match event:
                    case Frames() | Progress():
                        yield event
                    case Event() | str():
                        text, tokens = event if isinstance(event, Event) else (event, None)
                        frame = self._frame(text.encode())
                        sent.append(frame)
                        if frame and not is_usage_event(frame):
                            yield Frames(frame, tokens)
                    case Reply():
                        yield event
                        return
        frames = b"".join(sent)
        yield await run_sized(len(frames), _assembled, frames)

    def _frame(self, event: bytes) -> bytes:
        """Return an event as it is, the end of the stream as nothing; an error is raised."""
        if event.startswith(b'data: {"error"'):
            raise engine_error(payloads(event)[0]["error"])
        return b"" if event == DONE else event

    def _unless_lost(self, error: ChatLLMError) -> ChatLLMError:
        """Return how a request failed, unless its engine has died, on which it ends as its replica does."""
        if not self._engine.client.errored:
            return error
        self.engine_lost(DIED)
        return Unavailable(LOST, None, 1.0)

    def _translated(self, error: Exception, prompt_field: str) -> ChatLLMError:
        if isinstance(error, asyncio.CancelledError):
            raise error
        return engine_error(self._engine.error_response(error).error.model_dump(), prompt_field)


class _Choice(msgspec.Struct):
    finish_reason: str | None = None


class _Outline(msgspec.Struct):
    """What is read of an answer, which can hold millions of tokens or numbers besides."""

    error: dict[str, Any] | None = None
    usage: dict[str, Any] | None = None
    choices: list[_Choice] | None = None


def _strict(tool: dict[str, Any]) -> dict[str, Any]:
    """Return a tool that must be called, its arguments bound to its schema unless the client wants them free."""
    function = tool.get("function") or {}
    return tool if function.get("strict") is not None else {**tool, "function": {**function, "strict": True}}


def _whole(result: Any, prompt_field: str) -> Reply | Failed:
    if isinstance(result, Reply):
        return result
    body = bytes(result.body) if isinstance(result, Response) else result.model_dump_json().encode()
    return _plain(body, prompt_field)


def _assembled(frames: bytes) -> Reply | Failed:
    return _plain(orjson.dumps(assemble(payloads(frames))))


def _plain(body: bytes, prompt_field: str = "messages") -> Reply | Failed:
    outline = msgspec.json.decode(body, type=_Outline)
    if outline.error is not None:
        return Failed(engine_error(outline.error, prompt_field))
    usage = outline.usage or {}
    return Reply(
        body,
        int(usage.get("prompt_tokens") or 0),
        int(usage.get("completion_tokens") or 0),
        (outline.choices[0].finish_reason if outline.choices else "") or "",
    )

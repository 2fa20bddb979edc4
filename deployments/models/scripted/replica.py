"""The programmable stand-in for a model: it speaks the same messages, with no weights.

For tests, for demonstrations of overload and failure, and for measuring
everything that is not the model. The answer is a pure function of the request:
it repeats the words of the last message, calls tools that the message mentions,
and fills schemas with what the message holds (the other modules of this folder).
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any

import orjson

from deployments.config import ScriptedModel
from deployments.errors import BadRequest, ChatLLMError, ContextTooLong
from deployments.infra.heap import decoded_json
from deployments.infra.threads import run_sized
from deployments.infra.timing import EngineTimes
from deployments.lora.files import checked
from deployments.lora.types import Adapter
from deployments.models.assembly import TEXT_COMPLETION, assemble, payloads
from deployments.models.progress import PROGRESS_S
from deployments.models.prompts import check_token_ids
from deployments.models.protocol import (
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
from deployments.models.scripted.chat import choices, chunks
from deployments.models.scripted.completion import completion_chunks, continuations, prompts_of
from deployments.models.scripted.embedding import embeddings, pooled
from deployments.models.scripted.load import ScriptedLoad
from deployments.models.scripted.prompt import text_of
from deployments.models.scripted.scores import ranked, scored
from deployments.models.scripted.speaking import Pace, Speech, resumed_of, usage_figures
from deployments.models.scripted.speech import heard, heard_chunks, usage_of
from deployments.models.scripted.tokens import VOCABULARY, detokenized, tokenized

POOLING: Mapping[Endpoint, Callable[[dict[str, Any], str, int], dict[str, Any]]] = {
    "embedding": embeddings,
    "pooling": pooled,
    "rerank": ranked,
    "score": scored,
}
"""What is made of vectors."""


class ScriptedReplica:
    """A model replica that follows `ScriptedModel`: tokens, delays, a failure at a given token."""

    def __init__(self, model: ScriptedModel) -> None:
        self._model = model
        self._running = 0
        self._waiting = 0
        self._slots = asyncio.Semaphore(model.slots) if model.slots else None
        self._reported = ScriptedLoad(model.max_sequences)
        self.target_ttft_s: float | None = None
        """The goal that the autoscaler goes by; changed in place."""

    async def start(self) -> None:
        """Take as long as the script says that loading takes; fail if it says so."""
        await asyncio.sleep(self._model.load_s)
        if self._model.fails_to_load:
            raise RuntimeError("The scripted model does not load, as its script says.")

    async def check_health(self) -> None:
        """Never fail: there is nothing that could."""

    async def traits(self) -> Traits:
        """Return what the script says of the model."""
        model = self._model
        return Traits(model.input_modalities, model.output_modalities, model.context_tokens)

    async def running(self) -> int:
        """Return how many requests are being generated now."""
        return self._running

    async def waiting(self) -> int:
        """Return how many of these have no token yet."""
        return self._waiting

    async def load_adapter(self, name: str, source: str) -> Adapter:
        """Check an adapter as a vLLM replica does; a script answers under its name, and otherwise as always."""
        return await asyncio.to_thread(checked, self._model, name, source)

    async def hold_adapters(self, adapters: Sequence[Adapter]) -> None:
        """Do nothing: a script answers for any."""

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Tell Serve's autoscaler how busy it is (a method that Serve knows by its name)."""
        return self._reported.load(self._running, self._waiting, self.target_ttft_s).reported()

    async def generate(self, model_request: ModelRequest) -> AsyncGenerator[Message | Progress]:
        """Yield the scripted answer as frames and a reply; closing the generator ends it at once."""
        self._running += 1
        arrived, has_slot = time.monotonic(), False
        try:
            has_slot = await self._slot()
            request = await run_sized(len(model_request.body), decoded_json, model_request.body)
            check_token_ids(request, VOCABULARY)
            messages = self._messages(model_request, request)
            is_first = True
            async for message in messages:
                if is_first:
                    self._reported.first_token(time.monotonic() - arrived)
                    is_first = False
                yield message
        except ChatLLMError as error:
            yield Failed(error)
        finally:
            self._running -= 1
            if has_slot and self._slots is not None:
                self._slots.release()

    def _messages(self, model_request: ModelRequest, request: dict[str, Any]) -> AsyncGenerator[Message | Progress]:
        match model_request.endpoint:
            case "chat":
                return self._spoken(self._chat(model_request, request), model_request.stream)
            case "completion":
                return self._spoken(self._completion(model_request, request), model_request.stream)
            case "embedding" | "pooling" | "classification" | "rerank" | "score":
                return self._at_once(self._pooled(model_request.endpoint, request))
            case "transcription" | "translation":
                return self._heard(model_request, request)
            case "tokenize":
                return self._at_once(tokenized(request, self._model.context_tokens))
            case "detokenize":
                return self._at_once(detokenized(request))

    async def _slot(self) -> bool:
        """Wait for a slot where there is a bound; return whether one has to be given back."""
        if self._slots is None:
            return False
        self._waiting += 1
        try:
            return await self._slots.acquire()
        finally:
            self._waiting -= 1

    def _chat(self, model_request: ModelRequest, request: dict[str, Any]) -> Speech:
        prompt_tokens = self._prompt_tokens(request, model_request.trim)
        answers = choices(request, self._model.tokens)
        usage = usage_figures(prompt_tokens, sum(len(choice.deltas) for choice in answers))
        usage["completion_tokens_details"] = {"reasoning_tokens": sum(choice.reasoning_tokens for choice in answers)}
        head = self._head(f"chatcmpl-{model_request.request_id}", "chat.completion.chunk", request)
        resumed = resumed_of(model_request) if len(answers) == 1 else None
        return Speech(chunks(answers, request), head, usage, _reports_usage(request), len(answers), resumed)

    def _completion(self, model_request: ModelRequest, request: dict[str, Any]) -> Speech:
        lengths = [len(prompt.split()) for prompt in prompts_of(request)]
        self._require_room(max(lengths), "prompt")
        answers = continuations(request, self._model.tokens)
        head = self._head(f"cmpl-{model_request.request_id}", TEXT_COMPLETION, request)
        usage = usage_figures(sum(lengths), sum(len(one.tokens) for one in answers))
        resumed = resumed_of(model_request) if len(answers) == 1 and not request.get("echo") else None
        return Speech(completion_chunks(answers, request), head, usage, _reports_usage(request), 0, resumed)

    def _pooled(self, endpoint: Endpoint, request: dict[str, Any]) -> dict[str, Any]:
        """Return what is made of vectors; raises BadRequest where the model makes none."""
        answer, dimensions = POOLING.get(endpoint), self._model.embedding_dimensions
        if dimensions is None or answer is None:
            raise BadRequest(f"The model {self._model.id!r} does not support {CAPABILITIES[endpoint]}.", "model")
        return answer(request, self._model.id, dimensions)

    async def _heard(self, model_request: ModelRequest, request: dict[str, Any]) -> AsyncGenerator[Message | Progress]:
        words, endpoint = self._model.transcript, model_request.endpoint
        if words is None:
            raise BadRequest(f"The model {self._model.id!r} does not support {CAPABILITIES[endpoint]}.", "model")
        usage = usage_of(model_request.file, words)
        if model_request.stream:
            head = self._head(f"transcript-{model_request.request_id}", "chat.completion.chunk", request)
            async for message in self._spoken(Speech(heard_chunks(words), head, usage, False), True):
                yield message
            return
        await self._prefill()
        body = orjson.dumps(heard(request, model_request.file, words))
        yield Reply(body, usage["prompt_tokens"], usage["completion_tokens"], "stop")

    async def _spoken(self, speech: Speech, is_streamed: bool) -> AsyncGenerator[Message | Progress]:
        sent, began = bytearray(), time.perf_counter()
        await self._prefill()
        prefilled = reported_at = time.perf_counter()
        pace = Pace(self._model.token_ms / 1e3, self._model.in_step)
        if is_streamed:
            yield Progress(speech.usage["prompt_tokens"], 0)
        for position, choice in enumerate(speech.chunks):
            if position and self._model.token_ms and not speech.is_resumed(position):
                await pace.step()
            if self._model.fail_after is not None and position > self._model.fail_after:
                raise ChatLLMError("The scripted model failed, as its script says.")
            event = speech.event(position, choice)
            sent += event
            if is_streamed:
                yield Frames(event, speech.tokens_of(position, event))
            elif time.perf_counter() - reported_at > PROGRESS_S:
                reported_at = time.perf_counter()
                yield Progress(speech.usage["prompt_tokens"], speech.tokens_at(position))
        completion: dict[str, Any] = {**assemble(payloads(bytes(sent))), "usage": speech.usage}
        finish, tokens = completion["choices"][0]["finish_reason"], speech.usage["completion_tokens"]
        times = EngineTimes(0.0, prefilled - began, time.perf_counter() - prefilled)
        yield Reply(orjson.dumps(completion), speech.usage["prompt_tokens"], tokens, finish, times)

    async def _at_once(self, answer: dict[str, Any]) -> AsyncGenerator[Message]:
        await self._prefill()
        yield Reply(orjson.dumps(answer), int((answer.get("usage") or {}).get("prompt_tokens", 0)), 0, "")

    async def _prefill(self) -> None:
        self._waiting += 1
        try:
            await asyncio.sleep(self._model.prefill_ms / 1e3)
        finally:
            self._waiting -= 1

    def _prompt_tokens(self, request: dict[str, Any], trim: bool) -> int:
        """Return the prompt's words, the oldest messages left out if they do not fit and `trim` allows it."""
        lengths = [len(text_of(message).split()) for message in request["messages"]]
        while trim and len(lengths) > 1 and sum(lengths) > self._model.context_tokens:
            lengths.pop(0)
        self._require_room(sum(lengths), "messages")
        return sum(lengths)

    def _require_room(self, tokens: int, field: str) -> None:
        if tokens > self._model.context_tokens:
            raise ContextTooLong(
                f"This model's maximum context length is {self._model.context_tokens} tokens, "
                f"but the prompt has {tokens}.",
                field,
            )

    def _head(self, answer_id: str, kind: str, request: Mapping[str, Any]) -> dict[str, Any]:
        named = str(request.get("model"))
        model = named if named.startswith(f"{self._model.id}:") else self._model.id
        return {"id": answer_id, "object": kind, "created": int(time.time()), "model": model}


def _reports_usage(request: dict[str, Any]) -> bool:
    return bool((request.get("stream_options") or {}).get("continuous_usage_stats"))

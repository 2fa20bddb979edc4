"""vLLM's handlers of transcriptions and translations, their files decoded elsewhere. Imports vllm.

vLLM decodes in threads of the process that all requests of the model share. Here each file has a process of its own
(`audio.py`). Here the tokens of an answer are counted, too: vLLM reports them only in streams, and there only for
the last piece.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Literal, cast

import numpy as np
import orjson
from fastapi import UploadFile
from pydantic import BaseModel
from starlette.requests import Request
from vllm.entrypoints.openai.models.serving import OpenAIServingModels
from vllm.entrypoints.serve.engine.protocol import ErrorResponse
from vllm.entrypoints.speech_to_text.base.serving import SpeechToTextBaseServing
from vllm.entrypoints.speech_to_text.transcription.protocol import TranscriptionRequest
from vllm.entrypoints.speech_to_text.transcription.serving import OpenAIServingTranscription
from vllm.entrypoints.speech_to_text.translation.protocol import TranslationRequest
from vllm.entrypoints.speech_to_text.translation.serving import OpenAIServingTranslation
from vllm.multimodal.audio import split_audio
from vllm.v1.engine.async_llm import AsyncLLM

from deployments.errors import BadRequest
from deployments.models.assembly import DONE, payloads, sse
from deployments.models.protocol import Reply
from deployments.models.vllm.audio import AudioDecoder, Sound


class SpeechRequest(BaseModel):
    """What is wanted of a recording, in the fields of OpenAI's API; `file` and `request_id` are the replica's."""

    file: bytes
    request_id: str
    model: str
    language: str | None = None
    prompt: str = ""
    response_format: Literal["json", "verbose_json"] = "json"
    temperature: float = 0.0
    seed: int | None = None
    max_completion_tokens: int | None = None
    stream: bool = False


@dataclass(slots=True)
class Spent:
    """What one request has used: tokens by the engine's requests, of which there is one for each piece of sound."""

    prompts: dict[str, int] = field(default_factory=dict[str, int])
    made: dict[str, int] = field(default_factory=dict[str, int])
    audio_tokens: int = 0

    @property
    def usage(self) -> dict[str, Any]:
        """The tokens in the shape of a chat's usage."""
        read, made = sum(self.prompts.values()) + self.audio_tokens, sum(self.made.values())
        details = {"audio_tokens": self.audio_tokens}
        total = {"prompt_tokens": read, "completion_tokens": made, "total_tokens": read + made}
        return {**total, "prompt_tokens_details": details}


SPENT: ContextVar[Spent] = ContextVar("spent")
"""Of the request that is answered in this context."""


class CountingClient:
    """An engine client that notes what the request of its context uses; all else is the client's own."""

    def __init__(self, client: AsyncLLM) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def generate(self, prompt: Any, sampling_params: Any, request_id: str, **named: Any) -> AsyncGenerator[Any]:
        """Return the outputs, as `AsyncLLM.generate` does."""
        return self._counted(prompt, sampling_params, request_id, SPENT.get(), named)

    async def _counted(
        self, prompt: Any, sampling_params: Any, request_id: str, spent: Spent, named: Mapping[str, Any]
    ) -> AsyncGenerator[Any]:
        async with aclosing(self._client.generate(prompt, sampling_params, request_id, **named)) as outputs:
            async for output in outputs:
                spent.prompts[request_id] = len(output.prompt_token_ids or ())
                spent.made[request_id] = spent.made.get(request_id, 0) + len(output.outputs[0].token_ids)
                yield output


class Speech:
    """Answers transcriptions or translations through vLLM's handler of them."""

    def __init__(self, handler: SpeechToTextBaseServing, max_audio_s: float) -> None:
        self._handler = handler
        rate = int(handler.asr_config.sample_rate)
        self._decoder = AudioDecoder(rate, max_audio_s)
        handler._decode_and_chunk_speech_async = self._pieces  # type: ignore[method-assign, assignment]
        self._vllms_segments = handler._get_verbose_segments  # pyright: ignore[reportPrivateUsage]
        handler._get_verbose_segments = self._segments  # type: ignore[method-assign]

    async def answer(self, request: SpeechRequest) -> AsyncGenerator[str | bytes] | Reply | ErrorResponse:
        """Return what vLLM's handler does, a whole answer as a `Reply`; cancelling stops the engine's work."""
        try:
            self._handler.model_cls.validate_language(request.language)
        except ValueError as error:
            raise BadRequest(str(error), "language") from None
        spent = Spent()
        SPENT.set(spent)
        answer = await self._answered(request)
        if isinstance(answer, ErrorResponse):
            return answer
        if isinstance(answer, AsyncGenerator):
            return self._streamed(answer, request, spent)
        body = answer.model_dump()
        usage = spent.usage
        return Reply(orjson.dumps(body), usage["prompt_tokens"], usage["completion_tokens"], "stop")

    async def _answered(self, request: SpeechRequest) -> Any:
        headers = [(b"x-request-id", request.request_id.encode())]
        raw = Request({"type": "http", "headers": headers, "state": {}})
        given = request.model_dump(exclude={"file", "request_id"}, exclude_none=True)
        file = UploadFile(BytesIO())  # vLLM reads the bytes beside it
        if isinstance(self._handler, OpenAIServingTranslation):
            translation = TranslationRequest(file=file, **given)
            return await self._handler.create_translation(request.file, translation, raw)
        handler = cast("OpenAIServingTranscription", self._handler)
        return await handler.create_transcription(request.file, TranscriptionRequest(file=file, **given), raw)

    def _segments(self, tokens: Sequence[int], **named: Any) -> list[Any]:
        """Return what vLLM does, and nothing for a piece without speech, where it fails."""
        end = self._handler.tokenizer.eos_token_id
        return self._vllms_segments(tuple(tokens), **named) if any(token != end for token in tokens) else []

    async def _pieces(self, data: bytes) -> tuple[list[Sound], float]:
        """Return the sound in pieces that the model can take, and its seconds."""
        handler, config = self._handler, self._handler.asr_config
        sound = await self._decoder.decoded(data)
        seconds = len(sound) / config.sample_rate
        with suppress(NotImplementedError):
            tokens = handler.model_cls.get_num_audio_tokens(seconds, config, handler.model_config)
            SPENT.get().audio_tokens = int(tokens or 0)
        if not config.allow_audio_chunking or config.max_audio_clip_s is None or seconds <= config.max_audio_clip_s:
            return [sound], seconds
        pieces = await asyncio.to_thread(
            split_audio,
            audio_data=sound,
            sample_rate=int(config.sample_rate),
            max_clip_duration_s=config.max_audio_clip_s,
            overlap_duration_s=config.overlap_chunk_second,
            min_energy_window_size=cast("int", config.min_energy_split_window_size),
        )
        return [np.ascontiguousarray(piece) for piece in pieces], seconds

    async def _streamed(
        self, events: AsyncGenerator[str], request: SpeechRequest, spent: Spent
    ) -> AsyncGenerator[str | bytes]:
        """Yield vLLM's events as those of a chat, and the usage of all pieces behind them."""
        head = {"id": f"transcript-{request.request_id}", "object": "chat.completion.chunk", "model": request.model}
        async with aclosing(events):
            async for event in events:
                if event.startswith('data: {"error"'):
                    yield event
                    return
                for text in _texts(event.encode()):
                    yield sse({**head, "choices": [_choice({"content": text})]}).decode()
        yield sse({**head, "choices": [_choice({}, "stop")]}).decode()
        yield sse({**head, "choices": [], "usage": spent.usage}).decode()
        yield DONE.decode()


def _choice(delta: Mapping[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": finish_reason}


def _texts(event: bytes) -> Sequence[str]:
    chunks = payloads(event)
    return [text for chunk in chunks for choice in chunk["choices"] if (text := choice["delta"].get("content"))]


def open_speech(
    client: AsyncLLM, models: OpenAIServingModels, max_audio_s: float
) -> dict[Literal["transcription", "translation"], Speech]:
    """Return the handlers of a model that transcribes."""
    counting: Any = CountingClient(client)
    transcription = OpenAIServingTranscription(counting, models, request_logger=None)
    translation = OpenAIServingTranslation(counting, models, request_logger=None)
    return {"transcription": Speech(transcription, max_audio_s), "translation": Speech(translation, max_audio_s)}

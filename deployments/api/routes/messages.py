"""`POST /v1/messages` and `/v1/messages/count_tokens`: Anthropic's API, for its SDKs and Claude Code."""

import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from deployments.api.exchange import exchange
from deployments.api.http.dialect import MESSAGES, error_event
from deployments.api.http.requests import body_as
from deployments.api.schemas import messages as shapes
from deployments.api.schemas.openapi import documented
from deployments.api.services import Services, cache_control_of, caller_of, services_of, wait_of
from deployments.chat.call import Answer, ChatCall
from deployments.chat.summary import Summary
from deployments.errors import ChatLLMError, ContextTooLong, InvalidJSON, ModelLoading, ModelNotFound, Timeout
from deployments.infra.threads import run_sized
from deployments.keys.authenticator import Caller
from deployments.limits.estimate import weight_of
from deployments.messages.answer import message_of
from deployments.messages.events import Translator, frame
from deployments.messages.request import MessageRequest, MessagesCall, TokenCountRequest, read_call
from deployments.models.assembly import payloads
from deployments.responses.request import prompt_fields

router = APIRouter(prefix=MESSAGES, tags=["messages"])

ERRORS = (InvalidJSON, ContextTooLong, ModelNotFound, ModelLoading, Timeout)
EXAMPLE = {"model": "guide", "messages": [{"role": "user", "content": "What is ChatLLM?"}]}


@router.post(
    "",
    response_model=None,
    openapi_extra=documented(
        MessageRequest,
        shapes.AnsweredMessage,
        events=shapes.MessageEvent,
        example={**EXAMPLE, "max_tokens": 64},
        errors=ERRORS,
    ),
)
async def create_message(request: Request) -> Response:
    """Answer messages as Anthropic's API does, streamed (`stream: true`, server-sent events) or whole."""
    services, caller = services_of(request), await caller_of(request)
    body = await body_as(request, MessageRequest)
    wanted = await run_sized(request.state.body_bytes, read_call, body)
    chat = wanted.within(await _window(services, wanted))
    control, wait_s = cache_control_of(request), wait_of(request)
    call = ChatCall(secrets.token_hex(16), caller.tenant, chat, cache_control=control, wait_s=wait_s)

    async def work(summary: Summary) -> Answer:
        summary.ignored = wanted.ignored
        answer = await services.chat.chat(call, summary)
        if answer.frames is None:
            whole = await run_sized(len(answer.body), _whole, answer.body, call.id, wanted.max_tokens)
            return Answer(whole)

        async def read() -> int:
            # Who joins an answer that is generated already is not told how long its prompt is, nor is anyone
            # by a model that is elsewhere, which cannot tokenize either.
            try:
                return summary.prompt_tokens or await _counted(services, caller, wanted, Summary())
            except ChatLLMError:
                return summary.prompt_estimate

        translator = Translator(_message_id(call.id), summary.model, wanted.max_tokens)
        frames = _streamed(answer, answer.frames, translator, read, summary, request)
        return Answer(frames=frames, waits_for=answer.waits_for)

    weight = weight_of("chat", chat, services.settings.key_limits.assumed_answer_tokens)
    return await exchange(request, services, caller, call.streams, work, weight)


@router.post(
    "/count_tokens",
    response_model=None,
    openapi_extra=documented(TokenCountRequest, shapes.MessageTokens, example=EXAMPLE, errors=ERRORS),
)
async def count_tokens(request: Request) -> Response:
    """Count the tokens that the model would read for such a message, by its own tokenizer and chat template."""
    services, caller = services_of(request), await caller_of(request)
    body = await body_as(request, TokenCountRequest)
    wanted = await run_sized(request.state.body_bytes, read_call, body)

    async def work(summary: Summary) -> Answer:
        summary.ignored = wanted.ignored
        tokens = await _counted(services, caller, wanted, summary, wait_of(request))
        return Answer(orjson.dumps({"input_tokens": tokens}))

    return await exchange(request, services, caller, False, work, weight_of("tokenize", {}, 0))


async def _window(services: Services, wanted: MessagesCall) -> int | None:
    """Return how many tokens fit into the model's window, None if unknown."""
    try:
        model = services.models.resolve(wanted.chat.get("model"))
    except ModelNotFound:  # said where the request is counted
        return None
    return (await services.models.traits(model)).max_model_len


async def _counted(
    services: Services, caller: Caller, wanted: MessagesCall, summary: Summary, wait_s: float | None = 0.0
) -> int:
    """Return how many tokens the model reads."""
    named = {name: wanted.chat[name] for name in ("model", "messages") if name in wanted.chat}
    call = ChatCall(
        secrets.token_hex(16), caller.tenant, {**prompt_fields(wanted.chat), **named}, "tokenize", wait_s=wait_s
    )
    answer = await services.chat.ask(call, summary)
    return int(orjson.loads(answer.body)["count"])


def _message_id(call_id: str) -> str:
    return f"msg_{call_id}"


def _whole(body: bytes, call_id: str, max_tokens: int) -> bytes:
    return orjson.dumps(message_of(orjson.loads(body), _message_id(call_id), max_tokens))


async def _streamed(
    answer: Answer,
    frames: AsyncGenerator[bytes],
    translator: Translator,
    read: Callable[[], Awaitable[int]],
    summary: Summary,
    request: Request,
) -> AsyncGenerator[bytes]:
    """Yield the events of a message, whose prompt has as many tokens as `read` tells; a failure is the last one."""
    try:
        if answer.waits_for:
            await anext(frames)  # how long the prompt is, only a replica can tell
        yield b"".join(map(frame, translator.begin(await read())))
        async with aclosing(frames):
            async for data in frames:
                events = [event for chunk in payloads(data) for event in translator.add(chunk)]
                if events:
                    yield b"".join(map(frame, events))
        yield b"".join(map(frame, translator.close()))
    except ChatLLMError as error:
        summary.failure = error
        yield error_event(error, request.state.request_id, request.scope)
    finally:
        await frames.aclose()

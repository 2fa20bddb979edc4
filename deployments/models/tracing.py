"""The span of a generation at its model replica (infra/tracing.py)."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from deployments.infra import tracing
from deployments.models.protocol import Failed, Message, ModelRequest, Progress, Reply

if TYPE_CHECKING:
    from opentelemetry.trace import Span

Messages = AsyncGenerator[Message | Progress]


def traced(request: ModelRequest, model: str, messages: Messages) -> Messages:
    """Return the messages of a generation; where its request is traced, a span is around them."""
    traceparent = getattr(request, "traceparent", "")  # an ingress of the version before sends none
    if not traceparent or not tracing.is_on():
        return messages
    return _observed(traceparent, request, model, messages)


async def _observed(traceparent: str, request: ModelRequest, model: str, messages: Messages) -> Messages:
    # Begun here: what is never iterated, as its ingress cannot be reached, would never end its span.
    trace = tracing.begun("model", "generate", traceparent)
    if trace is None:
        async with aclosing(messages):
            async for message in messages:
                yield message
        return
    span = trace.span
    span.set_attributes({"gen_ai.request.model": model, "gen_ai.operation.name": request.endpoint})
    try:
        with trace.entered():
            async with aclosing(messages):
                async for message in messages:
                    _note(span, message)
                    yield message
    except BaseException as error:
        tracing.failed(span, error)
        raise
    finally:
        span.end()


def _note(span: "Span", message: Message | Progress) -> None:
    if isinstance(message, Reply):
        span.set_attributes(_figures(message))
    elif isinstance(message, Failed):
        tracing.failed(span, message.error)


def _figures(reply: Reply) -> dict[str, float]:
    """Return the key figures of an answer, by the names that vLLM's own traces have."""
    figures: dict[str, float] = {
        "gen_ai.usage.input_tokens": reply.prompt_tokens,
        "gen_ai.usage.output_tokens": reply.completion_tokens,
    }
    if reply.times is not None:
        figures |= {
            "gen_ai.latency.time_in_queue": reply.times.queue,
            "gen_ai.latency.time_in_model_prefill": reply.times.prefill,
            "gen_ai.latency.time_in_model_decode": reply.times.decode,
        }
    return figures

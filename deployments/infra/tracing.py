"""OpenTelemetry: one trace for each sampled request, over page, ingress, cache, model and Postgres.

Off, and not even imported, unless OTEL_EXPORTER_OTLP_ENDPOINT (or …_TRACES_ENDPOINT) is set. The other standard
variables of the SDK hold: OTEL_TRACES_SAMPLER (by default a tenth of the requests that bring no `traceparent`, and of
those that do, what that says), OTEL_EXPORTER_OTLP_PROTOCOL (http/protobuf or grpc), OTEL_EXPORTER_OTLP_HEADERS,
OTEL_SERVICE_NAME, OTEL_SDK_DISABLED.

    chatllm-page        answer               (ui/api/tracing.py)
    chatllm-ingress       POST /v1/…
                            auth, body, admission, history, cache, first-frame, decode, send: the hops of Timing
                              postgres       one round trip
    chatllm-model           generate

Spans hold names, ids, counts and times: nothing of a prompt, an answer or a key.
"""

import functools
import logging
import os
import time
from collections.abc import Coroutine, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

logger = logging.getLogger(__name__)

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
DEFAULT_SAMPLING = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"}
SERVER_ERROR = 500
Result = TypeVar("Result")

_NOTHING: AbstractContextManager[None] = nullcontext()
_current: ContextVar["RequestTrace | None"] = ContextVar("request_trace", default=None)


def is_on() -> bool:
    """Whether the environment asks for traces."""
    env = os.environ
    is_disabled = env.get("OTEL_SDK_DISABLED", "").lower() == "true" or env.get("OTEL_TRACES_EXPORTER") == "none"
    return not is_disabled and any(env.get(name) for name in ENDPOINTS)


class RequestTrace:
    """The trace of one request in this process, below one span; for one request's tasks."""

    def __init__(self, tracer: "Tracer", span: "Span") -> None:
        self._tracer = tracer
        self.span = span
        from opentelemetry.trace import set_span_in_context

        self._inside = set_span_in_context(span)

    def hop(self, name: str, began_s: float, ended_s: float) -> None:
        """Add a span of a hop, by the clock of `time.perf_counter`."""
        offset_ns = time.time_ns() - time.perf_counter_ns()
        span = self._tracer.start_span(name, self._inside, start_time=int(began_s * 1e9) + offset_ns)
        span.end(int(ended_s * 1e9) + offset_ns)

    @contextmanager
    def child(self, name: str, attributes: Mapping[str, Any]) -> Generator[None]:
        """Put a span around the block; what it raises is told by its type alone, since messages quote prompts."""
        from opentelemetry.trace import SpanKind

        span = self._tracer.start_span(name, self._inside, SpanKind.CLIENT, attributes)
        try:
            yield
        except BaseException as error:
            failed(span, error)
            raise
        finally:
            span.end()

    def traceparent(self) -> str:
        """Return what carries the trace to another process (W3C Trace Context)."""
        context = self.span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    @contextmanager
    def entered(self) -> Generator[None]:
        """Make the trace current in the block and in tasks that it starts."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)


def begun(part: str, name: str, traceparent: str, tracestate: str = "") -> RequestTrace | None:
    """Begin the span of what another process asked of this `part` of the service.

    None if it is not sampled, or OpenTelemetry's settings are wrong. The caller ends the span.
    """
    tracer = _tracer(part)
    if tracer is None:
        return None
    from opentelemetry.trace import SpanKind
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    parent = TraceContextTextMapPropagator().extract({"traceparent": traceparent, "tracestate": tracestate})
    span = tracer.start_span(name, parent, SpanKind.SERVER)
    return RequestTrace(tracer, span) if span.is_recording() else None


def child(name: str, attributes: Mapping[str, Any]) -> AbstractContextManager[None]:
    """Put a span around the block if its request is traced."""
    current = _current.get()
    return current.child(name, attributes) if current else _NOTHING


def annotate(attributes: Mapping[str, Any]) -> None:
    """Add attributes to the span of the request that this is part of, if it is traced."""
    if current := _current.get():
        current.span.set_attributes(attributes)


def traceparent() -> str:
    """Return what carries the trace of this request to another process; empty if it is not traced."""
    current = _current.get()
    return current.traceparent() if current else ""


def carried(work: Coroutine[Any, Any, Result]) -> Coroutine[Any, Any, Result]:
    """Return `work` so that it is part of this request's trace where it runs without its context (`detached`)."""
    current = _current.get()
    return _within(current, work) if current else work


async def _within(current: RequestTrace, work: Coroutine[Any, Any, Result]) -> Result:
    with current.entered():
        return await work


def failed(span: "Span", error: BaseException) -> None:
    """Mark a span as failed by an error, whose message stays behind."""
    from opentelemetry.trace import Status, StatusCode

    span.set_attribute("error.type", type(error).__name__)
    span.set_status(Status(StatusCode.ERROR))


@functools.cache  # so that wrong settings are told once and not tried again by each request
def _tracer(part: str) -> "Tracer | None":
    """Return what makes spans; None, and one line in the log, where OpenTelemetry refuses its settings."""
    try:
        return _made_tracer(part)
    except Exception as error:  # noqa: BLE001 - the boundary to OpenTelemetry: a wrong variable must cost no request
        # By its type alone: its message quotes the value, which may hold credentials of a collector.
        logger.error("traces are off: check the OTEL_… variables", extra={"reason": type(error).__name__})
        return None


def _made_tracer(part: str) -> "Tracer":
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    if "OTEL_TRACES_SAMPLER" not in os.environ:
        os.environ.update(DEFAULT_SAMPLING)
    name = os.environ.get("OTEL_SERVICE_NAME") or f"chatllm-{part}"
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    provider.add_span_processor(BatchSpanProcessor(_exporter()))
    return provider.get_tracer("chatllm")


def _exporter() -> Any:
    protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as OverGrpc

        return OverGrpc()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as OverHttp

    return OverHttp()

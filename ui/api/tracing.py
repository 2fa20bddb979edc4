"""OpenTelemetry: the page's span of an answer; the service's spans are its children (deployments/infra/tracing.py).

Off unless OTEL_EXPORTER_OTLP_ENDPOINT (or …_TRACES_ENDPOINT) is set; the SDK's other standard variables hold.
"""

import functools
import logging
import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

logger = logging.getLogger(__name__)

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
DEFAULT_SAMPLING = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"}


def is_on() -> bool:
    """Whether the environment asks for traces."""
    env = os.environ
    is_disabled = env.get("OTEL_SDK_DISABLED", "").lower() == "true" or env.get("OTEL_TRACES_EXPORTER") == "none"
    return not is_disabled and any(env.get(name) for name in ENDPOINTS)


@contextmanager
def answering(model: str) -> Generator[dict[str, str]]:
    """Put a span around an answer, and yield the headers that carry it to the service; none while traces are off."""
    tracer = _tracer() if is_on() else None
    if tracer is None:
        yield {}
        return
    from opentelemetry.trace import SpanKind, Status, StatusCode

    span = tracer.start_span("answer", kind=SpanKind.CLIENT, attributes={"gen_ai.request.model": model})
    context = span.get_span_context()
    try:
        yield {"traceparent": f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"}
    except Exception as error:
        span.set_attribute("error.type", type(error).__name__)  # its message may quote the conversation
        span.set_status(Status(StatusCode.ERROR))
        raise
    finally:
        span.end()


@functools.cache  # so that wrong settings are told once and not tried again by each answer
def _tracer() -> Any:
    """Return what makes spans; None, and one line in the log, where OpenTelemetry refuses its settings."""
    try:
        return _made_tracer()
    except Exception as error:  # noqa: BLE001 - the boundary to OpenTelemetry: a wrong variable must cost no answer
        # By its type alone: its message quotes the value, which may hold credentials of a collector.
        logger.error("traces are off (%s): check the OTEL_… variables", type(error).__name__)
        return None


def _made_tracer() -> Any:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    if "OTEL_TRACES_SAMPLER" not in os.environ:
        os.environ.update(DEFAULT_SAMPLING)
    name = os.environ.get("OTEL_SERVICE_NAME") or "chatllm-page"
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

"""The span of a generation begins and ends with it."""

from collections.abc import AsyncGenerator

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler

from deployments.errors import Unavailable
from deployments.infra import tracing
from deployments.models.delivery.sender import Delivery
from deployments.models.delivery.wire import Destination
from deployments.models.protocol import Message, ModelRequest, Reply
from deployments.models.tracing import traced

REQUEST = ModelRequest("r", b"{}", False, traceparent=f"00-{7:032x}-{7:016x}-01")


class Provider(TracerProvider):
    """Counts the spans that have begun."""

    def __init__(self, sampler: Sampler, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(sampler)
        self.began = 0
        self.ended = InMemorySpanExporter()
        self.add_span_processor(SimpleSpanProcessor(self.ended))
        tracer = self.get_tracer("test")
        start = tracer.start_span

        def counted(*args: object, **more: object) -> object:
            self.began += 1
            return start(*args, **more)  # type: ignore[arg-type]

        tracer.start_span = counted  # type: ignore[method-assign]
        monkeypatch.setattr(tracing, "_tracer", lambda part: tracer)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")


async def answer() -> AsyncGenerator[Message]:
    yield Reply(b"{}", 3, 2, "stop")


async def test_a_generation_that_cannot_be_delivered_leaves_no_span_open(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = Provider(ALWAYS_ON, monkeypatch)
    delivery = Delivery()

    async def no_connection(_address: object) -> object:
        raise ConnectionError("nobody is there")

    monkeypatch.setattr(delivery._pool, "get", no_connection)
    to = Destination(None, b"0" * 16)  # type: ignore[arg-type]
    with pytest.raises(Unavailable):
        await delivery.deliver(traced(REQUEST, "it", answer()), to)
    assert provider.began == len(provider.ended.get_finished_spans())


@pytest.mark.parametrize(("sampler", "spans"), [(ALWAYS_ON, 1), (ALWAYS_OFF, 0)])
async def test_messages_come_whether_it_is_sampled_or_not(
    sampler: Sampler, spans: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = Provider(sampler, monkeypatch)
    assert [message async for message in traced(REQUEST, "it", answer())] == [Reply(b"{}", 3, 2, "stop")]
    ended = provider.ended.get_finished_spans()
    assert len(ended) == spans
    assert all((span.attributes or {})["gen_ai.usage.output_tokens"] == 2 for span in ended)

"""What the spans of requests say: routes, never paths; and what wrong settings of OpenTelemetry cost: the traces."""

from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from deployments.config import ScriptedModel
from deployments.infra import tracing
from tests.unit.api.conftest import running

MODEL = ScriptedModel(id="traced", kind="scripted", tokens=2, token_ms=0)
QUESTION = {"messages": [{"role": "user", "content": "hello"}]}
SECRET = "share-4711"


@pytest.fixture(autouse=True)
def on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider(ALWAYS_ON)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    monkeypatch.setattr(tracing, "_tracer", lambda part: tracer)
    yield exporter
    provider.shutdown()


def requests(spans: InMemorySpanExporter) -> list[ReadableSpan]:
    return [span for span in spans.get_finished_spans() if span.attributes and "http.route" in span.attributes]


async def test_spans_are_named_after_routes_and_say_no_path(spans: InMemorySpanExporter) -> None:
    async with running(MODEL) as service:
        assert (await service.http.post("/v1/chat/completions", json=QUESTION)).status_code == 200
        for path in (f"/v1/{SECRET}", f"/{SECRET}?{SECRET}", f"/v1/models/{SECRET}", f"/v1/conversations/{SECRET}/"):
            assert (await service.http.get(path)).status_code == 404
    named = [(span.name, (span.attributes or {})["http.route"]) for span in requests(spans)]
    assert named[:3] == [("POST /v1/chat/completions", "/v1/chat/completions"), ("GET", ""), ("GET", "")]
    assert len(named) == 5
    assert not [span.name for span in spans.get_finished_spans() if SECRET in span.to_json()]


async def test_a_wrong_setting_costs_the_traces_and_no_request(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", SECRET)
    tracing._tracer.cache_clear()
    try:
        async with running(MODEL) as service:
            for _ in range(3):
                assert (await service.http.post("/v1/chat/completions", json=QUESTION)).status_code == 200
    finally:
        tracing._tracer.cache_clear()
    assert [record.levelname for record in caplog.records if "traces are off" in record.message] == ["ERROR"]
    assert SECRET not in caplog.text

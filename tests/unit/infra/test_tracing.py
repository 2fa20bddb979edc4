"""Traces are off unless the standard variables ask for them, and cost nothing then."""

import subprocess
import sys
import time

import pytest

from deployments.infra import tracing
from deployments.infra.timing import Timing
from ui.api import tracing as of_page


@pytest.fixture(autouse=True)
def nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*tracing.ENDPOINTS, "OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("asked", "is_on"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_the_standard_variables_decide(asked: dict[str, str], is_on: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in asked.items():
        monkeypatch.setenv(name, value)
    assert tracing.is_on() is of_page.is_on() is is_on


def test_off_it_imports_nothing_and_costs_a_fraction_of_a_microsecond_a_hop() -> None:
    program = "import sys, deployments.infra.tracing, ui.api.tracing; print('opentelemetry' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.strip() == "False"
    timing, count = Timing(), 20_000
    began = time.thread_time()
    for _ in range(count):
        timing.mark("auth")
        tracing.traceparent()
        tracing.annotate({})
        with tracing.child("postgres", {}):
            pass
    assert (time.thread_time() - began) / count < 20e-6  # some 1 µs, on a machine five times slower with room


def test_a_wrong_setting_leaves_the_page_without_traces(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many")
    of_page._tracer.cache_clear()
    try:
        for _ in range(3):
            with of_page.answering("guide") as headers:
                assert headers == {}
    finally:
        of_page._tracer.cache_clear()
    assert [record.levelname for record in caplog.records if "traces are off" in record.message] == ["ERROR"]

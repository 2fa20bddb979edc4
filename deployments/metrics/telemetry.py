"""What operators see: metrics through Ray, and one log line for each request.

Prompts, answers and keys never pass through here. The names below appear in
Prometheus with the prefix `ray_`.
"""

import logging
import time
from typing import Any

from ray.serve.metrics import Counter, Gauge, Histogram

from deployments.chat.summary import Summary
from deployments.metrics.batches import BatchMetrics
from deployments.metrics.gathered import GatheredMetrics
from deployments.metrics.recorder import Recorder

logger = logging.getLogger(__name__)

LATENCY_S = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0]


def _keys(*names: str) -> Any:
    """Return tag names; Ray annotates them as a tuple of exactly one."""
    return names


class Telemetry:
    """The metrics of one ingress replica. Ray adds up replicas; each figure is of this process alone."""

    def __init__(self, recorder: Recorder | None = None) -> None:
        """`recorder` is told of the same requests, for the service's own figures."""
        self._recorder = recorder or Recorder()
        self._requests = Counter(
            "chatllm_requests_total",
            "Requests that ended, by HTTP status.",
            tag_keys=_keys("model", "status", "stream"),
        )
        self._tokens = Counter("chatllm_tokens_total", "Tokens, by kind.", tag_keys=_keys("model", "kind"))
        self._cache = Counter("chatllm_cache_total", "Cache look-ups, by result.", tag_keys=_keys("model", "result"))
        self._cache_reasons = Counter(
            "chatllm_cache_reasons_total",
            "Requests that the cache did not answer, or only with a similar one's answer, by reason.",
            tag_keys=_keys("model", "reason"),
        )
        self._cache_drops = Counter(
            "chatllm_cache_drops_total", "Answers that were not stored, by reason.", tag_keys=_keys("reason")
        )
        self._first_token_s = Histogram(
            "chatllm_ttft_seconds",
            "Seconds to the first token.",
            boundaries=LATENCY_S,
            tag_keys=_keys("model", "cache"),
        )
        self._request_s = Histogram(
            "chatllm_request_seconds",
            "Seconds of a whole request.",
            boundaries=LATENCY_S,
            tag_keys=_keys("model", "cache"),
        )
        self._inflight = Gauge("chatllm_inflight_requests", "Chat requests being answered now.")
        self._pending = Gauge("chatllm_history_pending", "Conversation writes that wait for Postgres.")
        self._store_up = Gauge(
            "chatllm_store_up", "Whether the store (postgres or redis) answers: 1 or 0.", tag_keys=_keys("store")
        )
        self._postgres_s = Gauge("chatllm_postgres_seconds", "Seconds of the last round trip to Postgres.")
        self._running = 0
        self._gathered = GatheredMetrics()
        self.batches = BatchMetrics(self._gathered)
        for gauge in (self._inflight, self._pending):  # a level that has never changed is one, too
            self._gathered.level(gauge, 0)

    @property
    def running(self) -> int:
        """How many requests are being answered now."""
        return self._running

    def flush(self) -> None:
        """Tell Ray what has been counted within the last second."""
        self._gathered.flush()

    def cache_dropped(self, reason: str, times: int) -> None:
        """Count answers that were not stored."""
        self._gathered.count(self._cache_drops, times, reason=reason)

    def began(self) -> None:
        """Count a chat request in."""
        self._running += 1
        self._gathered.level(self._inflight, self._running)
        self._recorder.began()

    def pending_writes(self, count: int) -> None:
        """Record how many conversation writes wait."""
        self._gathered.level(self._pending, count)

    def postgres_answered(self, took_s: float | None) -> None:
        """Record a round trip to Postgres; None for one that failed."""
        self._gathered.level(self._store_up, took_s is not None, store="postgres")
        if took_s is not None:
            self._gathered.level(self._postgres_s, took_s)

    def redis_answers(self, is_up: bool) -> None:
        """Record whether Redis answers."""
        self._gathered.level(self._store_up, is_up, store="redis")

    def ended(self, request_id: str, key_id: str, summary: Summary, status: int, stream: bool) -> None:
        """Count a chat request out and write its line; 499 stands for a client that left."""
        self._running -= 1
        self._gathered.level(self._inflight, self._running)
        took_s = time.perf_counter() - summary.began
        self._recorder.ended(request_id, key_id, summary, status, took_s)
        count, model = self._gathered.count, summary.model
        count(self._requests, model=model, status=str(status), stream=str(stream).lower())
        count(self._cache, model=model, result=summary.cache)
        if summary.cache_reason:
            count(self._cache_reasons, model=model, reason=summary.cache_reason)
        tags = {"model": model, "cache": summary.cache}
        self._request_s.observe(took_s, tags)
        if summary.first_token_s is not None:
            self._first_token_s.observe(summary.first_token_s, tags)
        for kind, tokens in (("prompt", summary.prompt_tokens), ("completion", summary.completion_tokens)):
            if tokens:
                count(self._tokens, tokens, model=model, kind=kind)
        logger.info(
            "request id=%s key=%s model=%s status=%d cache=%s prompt_tokens=%d completion_tokens=%d ttft_ms=%.1f "
            "total_ms=%.1f finish=%s timing_ms=%s",
            request_id,
            key_id,
            summary.model,
            status,
            summary.cache,
            summary.prompt_tokens,
            summary.completion_tokens,
            (summary.first_token_s or 0.0) * 1e3,
            took_s * 1e3,
            summary.finish_reason or "-",
            summary.timing.line(),
        )

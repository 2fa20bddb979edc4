"""The metrics of batches, of one ingress replica and of the whole service."""

from ray.serve.metrics import Counter, Gauge

from deployments.batches.types import OPEN, BatchFigures
from deployments.metrics.gathered import GatheredMetrics


class BatchMetrics:
    """Tells Ray what this replica answers of batches, and what is open of all of them."""

    def __init__(self, gathered: GatheredMetrics) -> None:
        self._gathered = gathered
        self._lines = Counter(
            "chatllm_batch_lines_total",
            "Requests of batches, by outcome: completed, failed, or retried later.",
            tag_keys=("outcome",),
        )
        self._lines_running = Gauge("chatllm_batch_lines_running", "Requests of batches being answered now.")
        self._open = Gauge(
            "chatllm_batches_open",
            "Batches that have not ended, by status. One ingress replica tells those of all, the others 0: take the "
            "maximum.",
            tag_keys=("status",),
        )
        self._lines_open = Gauge(
            "chatllm_batch_lines_open",
            "Requests of batches without an answer, by state: waiting or running. Of all replicas, like "
            "chatllm_batches_open.",
            tag_keys=("state",),
        )
        self._oldest_s = Gauge(
            "chatllm_batch_oldest_seconds",
            "Seconds since the oldest batch that has not ended was made, 0 without one. Of all replicas, like "
            "chatllm_batches_open.",
        )
        gathered.level(self._lines_running, 0)  # a level that has never changed is one, too

    def line_ended(self, outcome: str) -> None:
        """Count a request of a batch."""
        self._gathered.count(self._lines, outcome=outcome)

    def lines_running(self, number: int) -> None:
        """Note how many requests of batches are being answered."""
        self._gathered.level(self._lines_running, number)

    def batches_open(self, figures: BatchFigures) -> None:
        """Note the figures of all batches, which one replica at a time has."""
        for status in OPEN:
            self._gathered.level(self._open, figures.open.get(status, 0), status=status)
        self._gathered.level(self._lines_open, figures.waiting, state="waiting")
        self._gathered.level(self._lines_open, figures.running, state="running")
        self._gathered.level(self._oldest_s, figures.oldest_s)

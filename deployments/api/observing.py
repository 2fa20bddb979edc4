"""What operators and keys' owners see of responses that run in the background, without a request of their own."""

from functools import partial

from deployments.chat.cost import Cost, when_final
from deployments.chat.summary import Summary
from deployments.metrics.telemetry import Telemetry
from deployments.usage.types import Used
from deployments.usage.writer import UsageWriter


class RunObserver:
    """Counts background runs in the metrics, and their tokens in the usage of their key.

    The request that started a run has been counted as a request already.
    """

    def __init__(self, telemetry: Telemetry, usage: UsageWriter) -> None:
        self._telemetry = telemetry
        self._usage = usage

    def began(self) -> None:
        """Count a run in."""
        self._telemetry.began()

    def ended(self, request_id: str, key_id: str, summary: Summary, status: int, stream: bool) -> None:
        """Count a run out."""
        self._telemetry.ended(request_id, key_id, summary, status, stream)
        when_final(summary, partial(self._note, key_id, summary.model, int(status >= 500)))

    def _note(self, key_id: str, model: str, errors: int, cost: Cost) -> None:
        used = Used(0, errors, cost.prompt_tokens, cost.completion_tokens, cost.cached_tokens)
        self._usage.note(key_id, model, used)

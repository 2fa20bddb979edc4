"""What a scripted replica reports to the autoscaler: requests, where an engine counts tokens."""

import time

from deployments.models.scaling.load import Load, Mean, Rates


class ScriptedLoad:
    """Counts the prompts that were read; one request counts as one token."""

    def __init__(self, max_running: int) -> None:
        self._max_running = max_running
        self._read = 0
        self._ttft_s = Mean()
        self._rates = Rates()

    def first_token(self, ttft_s: float) -> None:
        """Take note of a first token."""
        self._read += 1
        self._ttft_s.add(ttft_s)

    def load(self, running: int, waiting: int, target_ttft_s: float | None) -> Load:
        """Return the load now, of `running` requests of which `waiting` have no token."""
        rate = self._rates.since_last(time.monotonic(), 0.0, 0, self._read, waiting)
        return Load(
            running=running - waiting,
            waiting=waiting,
            max_running=self._max_running,
            asked_tokens_per_s=rate.asked_tokens_per_s,
            read_tokens_per_s=rate.read_tokens_per_s,
            ttft_s=self._ttft_s.take(),
            target_ttft_s=target_ttft_s or 0.0,
        )

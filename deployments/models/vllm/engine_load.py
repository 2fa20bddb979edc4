"""How busy an engine is, from what it reports after each step. Does not import vllm."""

import time
from collections.abc import Mapping
from typing import Any

from deployments.models.scaling.load import Load, Mean, Rates

ALONE = 8
"""Steps in a row with one sequence, whose mean counts as what a step costs: single ones arrive unevenly."""


class EngineSteps:
    """Counts an engine's steps, the time in which it had something to do, and the prompts that it read."""

    def __init__(self) -> None:
        self.steps = 0
        self.busy_s = 0.0
        self.read_tokens = 0
        self.kv_cache = 0.0
        self.step_s = 0.0
        """The least seconds of a step with one sequence alone; 0 until there were some."""
        self.ttft_s = Mean()
        self._at = 0.0
        self._is_busy = False
        self._alone: list[float] = []

    def ended(self, now: float, running: int, waiting: int, kv_cache: float) -> None:
        """Take note of a step that ended now (monotonic seconds), and of what the scheduler holds after it."""
        self.steps += 1
        if self._is_busy:
            self.busy_s += now - self._at
        self._note_alone(now - self._at, self._is_busy and running == 1 and not waiting)
        self._at, self._is_busy, self.kv_cache = now, running + waiting > 0, kv_cache

    def read(self, prompt_tokens: int, first_tokens_s: list[float]) -> None:
        """Take note of prompts that were read in a step, and how long after their arrival that was."""
        self.read_tokens += prompt_tokens
        if first_tokens_s:
            self._alone.clear()
            self.ttft_s.add(*first_tokens_s)

    def _note_alone(self, seconds: float, is_alone: bool) -> None:
        if not is_alone:
            self._alone.clear()
            return
        self._alone.append(seconds)
        if len(self._alone) == ALONE:
            mean = sum(self._alone) / ALONE
            self.step_s = min(self.step_s, mean) if self.step_s else mean
            self._alone.clear()


class EngineLoad:
    """What a replica reports to the autoscaler, each time that Serve asks."""

    def __init__(self, steps: EngineSteps, requests: Mapping[str, Any], max_running: int) -> None:
        """`requests` are those of vLLM's output processor, one for each sequence."""
        self._steps = steps
        self._requests = requests
        self.max_running = max_running
        self._rates = Rates()

    def load(self, target_ttft_s: float | None) -> Load:
        """Return the load now, and the rates since the last call. Takes a pass over the requests that run."""
        waiting = [request for request in self._requests.values() if request.is_prefilling]
        steps, now = self._steps, time.time()
        waiting_tokens = sum(int(request.prompt_len or 0) for request in waiting)
        rate = self._rates.since_last(time.monotonic(), steps.busy_s, steps.steps, steps.read_tokens, waiting_tokens)
        oldest_s = max((now - request.stats.arrival_time for request in waiting if request.stats), default=0.0)
        return Load(
            running=len(self._requests) - len(waiting),
            waiting=len(waiting),
            max_running=self.max_running,
            kv_cache=steps.kv_cache,
            busy=rate.busy,
            steps_per_s=rate.steps_per_s,
            step_s=steps.step_s,
            asked_tokens_per_s=rate.asked_tokens_per_s,
            read_tokens_per_s=rate.read_tokens_per_s,
            ttft_s=max(steps.ttft_s.take(), oldest_s),
            target_ttft_s=target_ttft_s or 0.0,
        )

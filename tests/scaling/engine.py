"""A vLLM replica on one H100, as far as its timing goes: chunked prefill, a KV cache, and a queue.

The rates are fitted to NVIDIA's published throughput of Llama 3.1 8B in FP8 on one H100 (TensorRT-LLM, "Performance
overview", version 1.0), in output tokens per second by lengths of prompt and answer:

    128/128 28,312   128/2048 22,714   128/4096 14,325   2048/128 3,450   20000/2000 1,351

With that many requests at once, a request takes `prompt x READ_S + answer x WRITE_S + context read x CONTEXT_S`:
2048/128 against 128/128 gives READ_S, 128/4096 against 128/2048 CONTEXT_S, and 20000/2000 the growth with the prompt's
length. A test compares the model with all ten published figures. STEP_S is what a step takes whoever is in it: the
weights' 8 GB at the 3.35 TB/s of the card's memory, and as much for launching it.
"""

import heapq
from collections import deque
from dataclasses import dataclass

READ_S = 13.75e-6
"""Seconds to read a token of a prompt."""
READ_AGAIN_S = 0.3e-9
"""Seconds more for each token of the prompt before it."""
WRITE_S = 12e-6
"""Seconds to write a token of one sequence, in a step with many."""
CONTEXT_S = 25e-9
"""Seconds to read a token of the KV cache."""
STEP_S = 5e-3
CHUNK = 8192
"""Tokens of prompts in one step at most (`max_num_batched_tokens`)."""
MAX_RUNNING = 256
"""`max_num_seqs`, vLLM's own choice for an API server on a large GPU is no less."""
MAX_TOKENS = 490_000
"""The KV cache: 60 GiB at 128 KiB a token (32 layers, 8 heads of 128, keys and values in two bytes)."""


@dataclass(slots=True)
class Request:
    """`ttft_s` is set with the first token."""

    arrived: float
    prompt: int
    answer: int
    ttft_s: float | None = None


class Engine:
    """One replica. Within a step of the simulation all that runs gets on alike, which takes one number, not many."""

    def __init__(self) -> None:
        self.waiting: deque[Request] = deque()
        self.waiting_tokens = 0.0
        self.read_tokens = 0.0
        self.first_tokens: list[float] = []
        self.busy_s = 0.0
        self.steps = 0.0
        self._left = 0.0
        self._running: list[tuple[float, int, float]] = []  # when it ends by _written, its tokens then, its start
        self._written = 0.0  # tokens that a sequence which ran from the beginning would have
        self._tokens_at_zero = 0.0  # the KV cache is this plus what has been written since

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def ongoing(self) -> int:
        return len(self._running) + len(self.waiting)

    @property
    def tokens(self) -> float:
        """How many tokens are in the KV cache."""
        return self._tokens_at_zero + self._written * len(self._running)

    def add(self, request: Request) -> None:
        if not self.waiting:
            self._left = request.prompt
        self.waiting.append(request)
        self.waiting_tokens += request.prompt

    def advance(self, now: float, seconds: float) -> None:
        """Go on from `now` for some seconds."""
        end = now + seconds
        while now < end:
            step = STEP_S + WRITE_S * self.running + CONTEXT_S * self.tokens
            if not self._has_room():
                used, ended = self._until_one_ends(end - now, step)
                now += used
                if not ended:
                    return
                continue
            per_token = READ_S + READ_AGAIN_S * self.waiting[0].prompt / 2
            full = step + CHUNK * per_token
            needed = self._left * full / CHUNK
            used = min(needed, end - now)
            self._write(used / full)
            self._count(used, used / full)
            now += used
            read = used * CHUNK / full
            self._left -= read
            if used == needed:
                self._first_token(now, step)

    def _has_room(self) -> bool:
        return bool(self.waiting) and self.running < MAX_RUNNING and self.tokens + self.waiting[0].prompt < MAX_TOKENS

    def _until_one_ends(self, seconds: float, step: float) -> tuple[float, bool]:
        """Write on; stop where a sequence ends and others wait for its place."""
        if not self._running:
            return seconds, False
        needed = max(0.0, (self._running[0][0] - self._written) * step)
        used = min(needed, seconds) if self.waiting else seconds
        self._write(used / step)
        self._count(used, used / step)
        return used, used < seconds

    def _count(self, seconds: float, steps: float) -> None:
        self.busy_s += seconds
        self.steps += steps

    def _write(self, tokens: float) -> None:
        self._written += tokens
        while self._running and self._running[0][0] <= self._written + 1e-9:
            _, prompt, began = heapq.heappop(self._running)
            self._tokens_at_zero -= prompt - began

    def _first_token(self, now: float, step: float) -> None:
        request = self.waiting.popleft()
        self.waiting_tokens -= request.prompt
        self.read_tokens += request.prompt
        request.ttft_s = now - request.arrived + step
        self.first_tokens.append(request.ttft_s)
        heapq.heappush(self._running, (self._written + request.answer, request.prompt, self._written))
        self._tokens_at_zero += request.prompt - self._written
        self._left = self.waiting[0].prompt if self.waiting else 0.0


def published_like(prompt: int, answer: int) -> float:
    """Return the output tokens per second with very many requests at once, as the published figures were measured."""
    read = prompt * (READ_S + READ_AGAIN_S * prompt / 2)
    at_once = min(1024.0, MAX_TOKENS * 2 / (prompt + answer / 2))  # the published runs have the KV cache in FP8
    write = answer * (WRITE_S + STEP_S / at_once + CONTEXT_S * (prompt + answer / 2))
    return answer / (read + write)

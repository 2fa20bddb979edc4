"""What is kept of a request that was sent."""

from dataclasses import dataclass, field

from loadtests.streams import Sample


@dataclass(slots=True)
class Sent:
    """A request and how it went; times in seconds of `time.perf_counter()`, those in `sample` since `due`."""

    due: float
    model: str
    is_stream: bool
    max_tokens: int
    turn: int = 1
    sent: float = 0.0
    sample: Sample = field(default_factory=Sample)
    text: str = ""
    """The answer, kept only where the next turn needs it."""

    @property
    def late_s(self) -> float:
        """How much later than due the generator sent it, which is the generator's fault alone."""
        return max(0.0, self.sent - self.due) if self.sent else 0.0

    @property
    def tpot_s(self) -> float | None:
        """Seconds per output token after the first, as `vllm bench serve` counts; None if there is no second one."""
        sample = self.sample
        return sum(sample.gaps_s) / (sample.tokens - 1) if sample.gaps_s and sample.tokens > 1 else None

    @property
    def e2e_s(self) -> float:
        """Seconds from due to the last token."""
        return (self.sample.ttft_s or 0.0) + sum(self.sample.gaps_s) if self.is_stream else self.sample.total_s

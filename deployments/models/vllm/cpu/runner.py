"""The model runner of a CPU: tokens that vLLM samples and throws away leave no trace. Imports vllm."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import numpy as np
from vllm.v1.worker.cpu_model_runner import CPUModelRunner


class SeededCPUModelRunner(CPUModelRunner):
    """vLLM's runner, which also takes requests with a seed whose prompt is read in several steps.

    vLLM samples a token after each step, also after the parts of a prompt before its last one. It throws those away
    and turns the request's generator back by setting its offset. Generators on CPUs have none: torch raises, and the
    engine dies with everything that it computes.
    """

    def sample_tokens(self, grammar_output: Any) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Sample after a step; the generators of requests whose token is thrown away stay where they are."""
        with self._unseeded_where_discarded():
            return super().sample_tokens(grammar_output)

    @contextmanager
    def _unseeded_where_discarded(self) -> Generator[None]:
        generators = self.input_batch.generators  # that of the sampler too
        discarded = np.flatnonzero(self.discard_request_mask.np[: self.input_batch.num_reqs])
        held = {int(row): generators.pop(int(row)) for row in discarded if int(row) in generators}
        try:
            yield
        finally:
            generators.update(held)

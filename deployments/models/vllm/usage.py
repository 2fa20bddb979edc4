"""What the requests of a vLLM engine have used so far."""

import time
from collections.abc import Mapping
from typing import Any

from deployments.models.progress import PROGRESS_S
from deployments.models.protocol import Progress


class RunningUsage:
    """The tokens of the requests that run now, as the engine's output processor knows them.

    One pass over all of them serves everybody who asks within a quarter of a second.
    """

    def __init__(self, states: Mapping[str, Any]) -> None:
        """`states` are the output processor's, one for each sequence, which it adds and takes away."""
        self._states = states
        self._known: dict[str, Progress] = {}
        self._at = 0.0

    def of(self, request_id: str) -> Progress | None:
        """Return what a request has used, all its prompts and answers together; None if it does not run."""
        now = time.monotonic()
        if now - self._at > PROGRESS_S / 2:
            self._known, self._at = self._counted(), now
        return self._known.get(request_id)

    def _counted(self) -> dict[str, Progress]:
        """Return all by the id that this service gave: vLLM's handlers name them `chatcmpl-ID` and `cmpl-ID-PROMPT`."""
        prompts: dict[str, dict[str, int]] = {}
        completions: dict[str, int] = {}
        for state in self._states.values():
            name = str(state.external_req_id)
            request_id = name.split("-")[1] if "-" in name else name
            prompts.setdefault(request_id, {})[name] = int(state.prompt_len or 0)  # shared by the answers to it
            tokens = state.detokenizer.num_output_tokens() if state.detokenizer else 0
            completions[request_id] = completions.get(request_id, 0) + tokens
        return {id_: Progress(sum(read.values()), completions[id_]) for id_, read in prompts.items()}

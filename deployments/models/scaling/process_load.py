"""What a replica reports that is one process with one event loop, such as the ingress: how much of a core it takes.

The time that it computes grows with the tokens that it relays, whatever their requests are.
"""

import time

from deployments.models.scaling.load import Load

NO_COST = 1e-9
"""What a step costs as such, for the policy: all of the time is for the requests."""


class ProcessLoad:
    """The processor time of this process, between two looks."""

    def __init__(self) -> None:
        self._before = time.monotonic(), time.process_time()

    def load(self, running: int = 0, max_running: int = 0) -> Load:
        """Return the load since the last call, of `running` requests of `max_running` that are allowed at once."""
        before, self._before = self._before, (time.monotonic(), time.process_time())
        seconds = self._before[0] - before[0]
        busy = min(1.0, (self._before[1] - before[1]) / seconds) if seconds > 0 else 0.0
        return Load(running=running, max_running=max_running, busy=busy, step_s=NO_COST)

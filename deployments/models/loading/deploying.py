"""Why models are not ready: what Serve's controller says about their deployments, and what replicas report."""

import asyncio
import logging
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from ray import serve

from deployments.infra.ray.handles import CALL_ERRORS
from deployments.infra.threads import in_own_thread
from deployments.models.loading.failure import LoadFailure, in_message
from deployments.models.loading.progress import Loading, expected_s, published

logger = logging.getLogger(__name__)

CACHE_S = 2.0
TIMEOUT_S = 2.0
FAILED = frozenset({"DEPLOY_FAILED"})
STOPPING = "STOPPING"


WAITS = "to be scheduled"
"""What Serve's message of a deployment says while no machine has what its replicas ask for."""


@dataclass(frozen=True, slots=True)
class Absence:
    """Why no replica of a model runs: `loading` as a replica reported, `expected_s` how long it took before.

    `reason` is one sentence for administrators, about a try that failed or about what the model waits for.
    """

    has_failed: bool = False
    loading: Loading | None = None
    reason: str = ""
    expected_s: float | None = None
    is_asleep: bool = False
    """Whether Serve wants no replica of it, as long as nobody asks for one."""


STARTING = Absence()
MAX_REASON = 600

_Known = Mapping[tuple[str, str], Absence]
"""By the names of application and deployment; "" for an application that has no deployment."""


class AbsentDeployments:
    """What is known of deployments without a replica; asked at most every 2 s, and only while one is missing.

    Serve's call has no time limit, and a hung controller never answers it. So it is
    made in a thread of its own, one at a time: no executor fills up, and the
    process can end.
    """

    def __init__(self) -> None:
        self._known: _Known = {}
        self._without: frozenset[tuple[str, str]] = frozenset()
        self._read_at = float("-inf")
        self._answer: Future[_Known] | None = None

    def known(self, application: str, deployment: str) -> Absence:
        """Return what was said last, without asking."""
        return self._known.get((application, deployment), STARTING)

    async def of(self, application: str, deployment: str) -> Absence:
        """Return what is known; what was known before where the controller does not answer in 2 s."""
        if time.monotonic() - self._read_at > CACHE_S:
            self._read_at = time.monotonic()
            if self._answer is None:
                self._answer = in_own_thread("serve-status", self._ask)
            await asyncio.wait([asyncio.wrap_future(self._answer)], timeout=TIMEOUT_S)
            self._take(self._answer)
        return self._known.get((application, deployment)) or self._known.get((application, ""), STARTING)

    def _take(self, answer: "Future[_Known]") -> None:
        """Note what the controller said; what it has not said yet is waited for the next time."""
        if not answer.done():
            logger.warning("Serve's controller did not report its state in time")
            return
        self._answer = None
        try:
            self._known = answer.result()
        except CALL_ERRORS as error:
            logger.warning("Serve's controller did not report its state: %s", type(error).__name__)

    def _ask(self) -> _Known:
        known: dict[tuple[str, str], Absence] = {}
        without: set[tuple[str, str]] = set()
        for application, found in serve.status().applications.items():
            for name, state in found.deployments.items():
                if str(state.status.value) != "HEALTHY":
                    known[application, name] = absence(
                        name, str(state.status.value), str(state.message), published(name)
                    )
                elif is_asleep(state.replica_states):
                    without.add((application, name))
                    # Serve also calls a deployment healthy for the moment before its first replicas are started.
                    sleeps = (application, name) in self._without
                    known[application, name] = Absence(expected_s=expected_s(name), is_asleep=sleeps)
            if not found.deployments and str(found.status.value) in FAILED:
                known[application, ""] = Absence(has_failed=True, reason=refusal(str(found.message)))
        self._without = frozenset(without)
        return known


def refusal(message: str) -> str:
    """Return why an application was not built, by what Serve says of it: the last line of a traceback, mostly."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return lines[-1][:MAX_REASON] if lines else NO_REASON


def is_asleep(replica_states: Mapping[Any, int]) -> bool:
    """Tell whether a healthy deployment has no replica and none that starts; one that stops takes nothing new."""
    return not any(count for state, count in replica_states.items() if str(getattr(state, "value", state)) != STOPPING)


def absence(deployment: str, status: str, message: str, loading: Loading | None) -> Absence:
    """Return why a deployment has no replica, from Serve's state and the last report of a replica."""
    failure = loading.failure if loading else None
    has_failed = status in FAILED or (loading is not None and loading.has_failed)
    if failure is None and has_failed:
        failure = in_message(message) or LoadFailure("unknown", NO_REASON)
    reason = failure.sentence if failure else WAITING if WAITS in message else ""
    return Absence(has_failed, loading, reason, expected_s(deployment))


NO_REASON = "Its replica failed without a reason that is known here; see the replica's log."
WAITING = (
    "No machine has the CPUs, GPUs or memory free that its replicas ask for: lower ray_actor_options or num_replicas, "
    "or add a machine."
)

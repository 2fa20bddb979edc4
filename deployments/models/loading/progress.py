"""How far the replicas of a model have come in loading it, and why the last try failed.

A replica writes this into the key-value store of Ray's head node, since it can answer no call before it has
loaded; the ingress and the launcher read it there. The state is one per deployment: the ingress asks for it
only while no replica runs.
"""

import logging
import os
import socket
import time
from dataclasses import dataclass, field, replace
from typing import Literal, Self

import msgspec

from deployments.infra.ray import key_value
from deployments.models.loading.failure import LoadFailure

log = logging.getLogger(__name__)

Phase = Literal["starting", "downloading", "reading_weights", "compiling", "warming_up", "ready", "failed"]
SAME_START_S = 900.0
"""Seconds after which a new start of a replica no longer counts as another try of the one before."""
TRIES = 3
"""How often Serve tries to start a replica before it gives up."""


@dataclass(frozen=True, slots=True)
class Loading:
    """The state of one load; times are Unix seconds, `took_s` is set once it has succeeded.

    `failure` is why the last try failed, and stays while the next ones run; `failures` counts them.
    `phases` has the seconds of the phases that are over, and `phase_since` is when this one began.
    """

    phase: Phase = "starting"
    since: float = 0.0
    percent: int | None = None
    took_s: float | None = None
    failure: LoadFailure | None = None
    failures: int = 0
    host: str = ""
    pid: int = 0
    phase_since: float = 0.0
    phases: dict[str, float] = field(default_factory=dict[str, float])

    @classmethod
    def begun(cls, before: "Loading | None") -> Self:
        """Return the state of a load that begins now, after what is known of the one before."""
        now = time.time()
        started = cls(since=now, host=socket.gethostname(), pid=os.getpid(), phase_since=now)
        if before is None or before.phase == "ready" or now - before.since > SAME_START_S:
            return started
        if before.phase != "failed" and before.has_ended_unseen:
            before = before.failed(KILLED)
        return replace(started, failure=before.failure, failures=before.failures)

    @property
    def has_ended_unseen(self) -> bool:
        """Whether the process that was loading is gone without having said how it ended; only known on its host."""
        if self.host != socket.gethostname() or not self.pid:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False

    @property
    def has_failed(self) -> bool:
        """Whether no further try is worth waiting for."""
        return self.failure is not None and (not self.failure.may_pass or self.failures >= TRIES)

    def failed(self, failure: LoadFailure) -> Self:
        """Return the state after a try that failed."""
        return replace(self, phase="failed", percent=None, failure=failure, failures=self.failures + 1)

    def entered(self, phase: Phase) -> Self:
        """Return the state in a phase that begins now, and what the one before took."""
        now = time.time()
        took_s = self.phases.get(self.phase, 0.0) + now - self.phase_since
        return replace(self, phase=phase, phase_since=now, phases={**self.phases, self.phase: round(took_s, 2)})

    def ready(self) -> Self:
        """Return the state once the model can generate."""
        took_s = round(time.time() - self.since, 1)
        return replace(self.entered("ready"), percent=None, took_s=took_s, failure=None, failures=0)


KILLED = LoadFailure(
    "killed",
    "The model's process was killed while it loaded, as by the kernel when memory is short: free memory, take a "
    "smaller model, or look into the kernel's log (dmesg).",
    may_pass=True,
)


def publish(deployment: str, state: Loading) -> None:
    """Let the other processes of the service know; without Ray, or while its head is away, nobody does."""
    if not key_value.is_connected():
        return
    try:
        key_value.put(_key(deployment), msgspec.json.encode(state))
    except Exception as error:  # noqa: BLE001 - Ray's errors of any kind: a model loads whether or not this is known
        log.warning("the state of loading cannot be published", extra={"reason": type(error).__name__})


def published(deployment: str) -> Loading | None:
    """Return what a replica of a deployment published last, None if nothing; takes a call to Ray's head."""
    found = key_value.get(_key(deployment))
    return decoded(found) if found else None


def expect(deployment: str, took_s: float) -> None:
    """Keep how long a deployment's replicas took to load before, for whoever asks while one loads."""
    key_value.put(f"took:{deployment}", repr(took_s).encode())


def expected_s(deployment: str) -> float | None:
    """Return how many seconds a load took before, None if that is not known."""
    found = key_value.get(f"took:{deployment}")
    return float(found) if found else None


def decoded(data: bytes) -> Loading | None:
    """Return a state that another process wrote; None for what another version of this code may have written."""
    try:
        return msgspec.json.decode(data, type=Loading)
    except msgspec.MsgspecError:
        return None


def _key(deployment: str) -> str:
    return f"loading:{deployment}"

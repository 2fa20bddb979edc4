"""Finding an engine that has died, or that says nothing any more though it should. Does not import vllm.

Everything that comes from the engine is a sign of life: a token, or a step of which nobody has one. When none has come
for a while, a canary asks for one token, by the way of all requests. If nothing comes after that either, the engine is
frozen, unless its processes work or wait for a processor: a long prefill, a graph that is captured, and a machine at
its limits are slow. What works and says nothing is given up after minutes.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from deployments.infra.detached import detached
from deployments.infra.liveness.processes import Stillness

LOOK_S = 1.0
QUIET_LOOKS = 4
"""Looks without a sign of life until the canary is sent."""
STILL_LOOKS = 7
"""Looks at processes that do nothing, after which the engine is frozen."""
STILL_ON_DEVICE_LOOKS = 60
"""The same where it computes on a device: vLLM sleeps until a step is over there, and one of a long prompt takes many
seconds. A process that is stopped is frozen there as well."""
SILENT_LOOKS = 300
"""The same for an engine that works, or whose processes are on other machines."""

CANARY = "canary-"
"""Begins the names of requests that nobody has sent."""
DIED = "the engine's process has ended"
FROZEN = "the engine is frozen"


class Watched(Protocol):
    """An engine."""

    @property
    def is_dead(self) -> bool:
        """Whether it has ended."""
        ...

    @property
    def pids(self) -> Sequence[int]:
        """The processes in which it works, as far as they are on this machine."""
        ...

    @property
    def has_device(self) -> bool:
        """Whether it computes on one, a GPU as a rule, of whose work its processes' times tell nothing."""
        ...

    async def canary(self, name: str) -> None:
        """Return once it has made one token; raises what it will where it cannot."""
        ...


class EngineWatch:
    """Looks at an engine once in `look_s`; calls `lost` with the reason, once, and ends."""

    def __init__(self, engine: Watched, lost: Callable[[str], None], look_s: float = LOOK_S) -> None:
        self._engine = engine
        self._lost = lost
        self._look_s = look_s
        self._still = Stillness()
        self._heard_at = 0.0
        self._seen_at = 0.0
        self._quiet_looks = 0
        self._silent_looks = 0
        self._canary: asyncio.Task[None] | None = None
        self._watching = detached(self._watch(), "watch of the engine")

    def hear(self) -> None:
        """Take note of a sign of life; called for every step."""
        self._heard_at = time.monotonic()

    def close(self) -> None:
        """Watch no longer."""
        self._watching.cancel()
        if self._canary is not None:
            self._canary.cancel()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._look_s)
            if self._engine.is_dead:
                return self._lost(DIED)
            if self._is_frozen():
                return self._lost(FROZEN)

    def _is_frozen(self) -> bool:
        if self._heard_at > self._seen_at:
            self._seen_at = self._heard_at
            self._quiet_looks = self._silent_looks = 0
            self._still.reset()
            return False
        self._quiet_looks += 1
        if self._quiet_looks < QUIET_LOOKS:
            return False
        if self._canary is None:
            self._canary = detached(self._engine.canary(f"{CANARY}{time.monotonic_ns()}"), "canary")
            self._canary.add_done_callback(self._returned)
        self._silent_looks += 1
        looks = self._still.look(self._engine.pids)
        may_compute = self._engine.has_device and not self._still.is_stopped
        return looks >= (STILL_ON_DEVICE_LOOKS if may_compute else STILL_LOOKS) or self._silent_looks >= SILENT_LOOKS

    def _returned(self, canary: "asyncio.Task[None]") -> None:
        """Whatever it failed with, the engine has answered, unless it is dead, which is looked at apart."""
        self._canary = None
        if not canary.cancelled():
            canary.exception()
            self.hear()

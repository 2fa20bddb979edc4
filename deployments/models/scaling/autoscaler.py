"""Serve's policy function for models: it asks the policy, and reports why a target has changed.

Serve's controller calls it several times a second, applies `upscale_delay_s`, `downscale_delay_s` and the bounds to
what it returns, and keeps the state that it returns. So a change is seen at the next call, in the target.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

from ray.serve.config import AutoscalingContext
from ray.serve.metrics import Counter, Gauge

from deployments.models.scaling.decisions import Decision, record
from deployments.models.scaling.load import FIGURES, Load
from deployments.models.scaling.policy import Memory, Reading, Verdict, decide

logger = logging.getLogger("ray.serve")  # the controller's own log


class TimeStampedValue(Protocol):
    """A value that a replica reported."""

    @property
    def value(self) -> float: ...


MEMORY, LAST_VERDICT = "memory", "said"


@dataclass(frozen=True, slots=True)
class LastVerdict:
    """What the last call knew: the target then, and what it thought of it."""

    target: int
    wanted: int
    cause: str
    reason: str

    @classmethod
    def of(cls, state: Any) -> Self | None:
        """Return what was kept; None where nothing was, or another version has written it."""
        try:
            return cls(**state) if state else None
        except TypeError:
            return None


class ModelAutoscaler:
    """The policy of one deployment, in Serve's controller."""

    def __init__(self) -> None:
        self._decisions = Counter(
            "chatllm_scaling_decisions_total",
            "Changes of the number of replicas that a deployment shall have, by what made them.",
            tag_keys=("model", "direction", "cause"),  # pyright: ignore[reportArgumentType] - Ray types it wrongly
        )
        self._demand = Gauge(
            "chatllm_scaling_demand_replicas",
            "How many replicas the load of a deployment would fill.",
            tag_keys=("model",),
        )
        self._failures: set[str] = set()

    def __call__(self, ctx: AutoscalingContext) -> tuple[int, dict[str, Any]]:
        """Return how many replicas there should be, and what is to be remembered; both as before if it fails.

        Serve's controller would stop updating all applications for an exception.
        """
        try:
            return self._decided(ctx)
        except Exception as error:
            if (cause := type(error).__name__) not in self._failures:
                self._failures.add(cause)
                logger.exception("Scaling %s failed: it keeps its number of replicas", ctx.deployment_name)
            return ctx.target_num_replicas, ctx.policy_state or {}

    def _decided(self, ctx: AutoscalingContext) -> tuple[int, dict[str, Any]]:
        wanted, state, decision, demand = considered(ctx)
        self._demand.set(demand, {"model": ctx.deployment_name})
        if decision is not None:
            self._tell(ctx, decision)
        return wanted, state

    def _tell(self, ctx: AutoscalingContext, decision: Decision) -> None:
        direction = "up" if decision.after > decision.before else "down"
        self._decisions.inc(tags={"model": ctx.deployment_name, "direction": direction, "cause": decision.cause})
        logger.info("Scaling %s %s", ctx.deployment_name, decision)
        try:
            record(ctx.app_name or "", ctx.deployment_name, decision)
        except Exception as error:  # noqa: BLE001 - Ray's errors of any kind: it scales whether or not that is shown
            logger.warning("A decision cannot be kept for the operations page: %s", type(error).__name__)


def considered(ctx: AutoscalingContext) -> tuple[int, dict[str, Any], Decision | None, float]:
    """Return the number of replicas, the state to be kept, what has been decided since the last call, and the demand.

    Without a report of any replica it goes by `target_ongoing_requests`, as Serve's own policy does. Has no effects.
    """
    reading = reading_of(ctx)
    verdict = decide(reading, Memory.of(ctx.policy_state.get(MEMORY, {})))
    if reading.current and not reading.loads:
        verdict = _as_serve_would(ctx, verdict)
    before = LastVerdict.of(ctx.policy_state.get(LAST_VERDICT))
    last = LastVerdict(ctx.target_num_replicas, verdict.replicas, verdict.cause, verdict.reason)
    state = {MEMORY: verdict.memory.kept(), LAST_VERDICT: {name: getattr(last, name) for name in LastVerdict.__slots__}}
    return verdict.replicas, state, _decision(ctx, before, verdict), verdict.demand


def reading_of(ctx: AutoscalingContext) -> Reading:
    """Return what Serve reports; the figures of each replica are averages over the look-back period."""
    figures: Mapping[str, Mapping[Any, float]] = ctx.aggregated_metrics or {}
    reporting = figures.get("max_running", {})
    loads = [Load(**{name: _figure(figures.get(name, {}).get(one, 0.0)) for name in FIGURES}) for one in reporting]
    series: Mapping[str, Mapping[Any, Sequence[TimeStampedValue]]] = ctx.raw_metrics or {}
    # Not `Load.queued`: Serve brings this module's text to a controller of the version before, whose loads have none.
    queued = sum(_figure(value) for value in figures.get("queued", {}).values())
    latest = [Load(**{name: _last(series.get(name, {}).get(one)) for name in FIGURES}) for one in reporting]
    return Reading(
        now=float(ctx.current_time or 0.0),
        current=ctx.current_num_replicas,
        target=ctx.target_num_replicas,
        loads=loads,
        latest=latest,
        queued=float(ctx.total_queued_requests or 0.0) + queued,
        look_back_s=float(ctx.config.look_back_period_s) if ctx.config else 30.0,
    )


def _last(series: "Sequence[TimeStampedValue] | None") -> float:
    return _figure(series[-1].value) if series else 0.0


def _figure(value: float) -> float:
    return float(value) if math.isfinite(value) else 0.0


def _as_serve_would(ctx: AutoscalingContext, verdict: Verdict) -> Verdict:
    target = float(ctx.config.get_target_ongoing_requests()) if ctx.config else 2.0
    demand = ctx.total_num_requests / target
    wanted = int(-(-demand // 1))
    return Verdict(wanted, "requests", f"{round(ctx.total_num_requests)} requests", demand, verdict.memory)


def _decision(ctx: AutoscalingContext, before: LastVerdict | None, verdict: Verdict) -> Decision | None:
    target = ctx.target_num_replicas
    if before is None or before.target == target:
        return None
    is_up = target > before.target
    at = (ctx.last_scale_up_time if is_up else ctx.last_scale_down_time) or ctx.current_time or 0.0
    cause, reason = before.cause, before.reason
    if not before.target:
        cause, reason = "held", "requests were held"
    elif (before.wanted > before.target) != is_up or before.wanted == before.target:
        cause, reason = "bounds", "the bounds in the service file"
    return Decision(float(at), before.target, target, cause, reason)

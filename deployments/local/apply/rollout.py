"""Deploying a document and following it to the end; what does not become healthy is taken back."""

import time
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

from deployments.local.apply.cluster import Cluster, Deployed, Unreachable
from deployments.local.apply.completion import Completed, replicas_of
from deployments.local.apply.plan import Change
from deployments.local.service_document import Tree
from deployments.local.state import LauncherError
from deployments.models.loading.deploying import refusal
from deployments.models.loading.failure import in_message

POLL_S = 0.5
RUNNING, FAILED = "RUNNING", "DEPLOY_FAILED"

Say = Callable[[str], None]


class NotHealthy(Exception):
    """A change did not come to its end; the message names the application and the reason."""


def roll_out(
    cluster: Cluster, former: Tree, wanted: Tree, changes: Sequence[Change], timeout_s: float, say: Say
) -> None:
    """Deploy `wanted` and return once every change is healthy.

    Otherwise deploy `former` again, follow that to its end, and raise LauncherError with the reason. An interrupt is
    a reason as well; a second one leaves the rollback to Serve.
    """
    try:
        before = _replicas(cluster)
        try:
            cluster.put(wanted)
        except Unreachable as error:
            raise NotHealthy(f"Ray's dashboard did not confirm the change ({error})") from None
        follow(cluster, changes, timeout_s, say, before)
    except (NotHealthy, KeyboardInterrupt) as error:
        reason = "it was interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
        say(f"Failed: {reason}")
        _roll_back(cluster, former, changes, timeout_s, say)
        raise LauncherError(f"the running service is as it was: {reason}") from None


def _replicas(cluster: Cluster) -> set[str]:
    """Return the ids of all replicas; LauncherError if they are not told within a minute."""
    applications = cluster.first().applications.values()
    return {
        one["replica_id"] for found in applications for of in _deployments(found).values() for one in replicas_of(of)
    }


def _roll_back(cluster: Cluster, former: Tree, changes: Sequence[Change], timeout_s: float, say: Say) -> None:
    say("Rolling back: what was deployed before is deployed again.")
    end = time.monotonic() + timeout_s
    while True:
        try:
            cluster.put(former)
            break
        except Unreachable as error:
            if time.monotonic() > end:
                raise LauncherError(f"the rollback failed, Ray's dashboard does not answer: {error}") from None
        time.sleep(POLL_S)
    try:
        follow(cluster, [_reversed(change) for change in changes], timeout_s, say)
    except NotHealthy as error:
        raise LauncherError(f"the former configuration is deployed again, but {error}") from None


def _reversed(change: Change) -> Change:
    opposite = {"add": "remove", "remove": "add"}.get(change.kind, change.kind)
    return Change(change.application, opposite)  # type: ignore[arg-type] - a kind's opposite is one


def follow(
    cluster: Cluster, changes: Sequence[Change], timeout_s: float, say: Say, before: Container[str] = ()
) -> None:
    """Say what happens until each change is done; raises NotHealthy for the first that failed, or is late.

    `before` are the ids of the replicas that ran when the change was deployed. Old ones that finish their answers are
    not waited for, and those of an application that is removed not for long.
    """
    shown: dict[str, str] = {}
    complete = Completed(before)
    end = time.monotonic() + timeout_s
    ending = time.monotonic() + min(timeout_s, ENDING_S)
    while True:
        try:
            deployed = cluster.read()
        except Unreachable as error:
            states, why = {change.application: "not known" for change in changes}, f": {error}"
        else:
            states, why = {change.application: _state(change, deployed, complete) for change in changes}, ""
        for application, state in states.items():
            if shown.get(application) != state:
                shown[application] = state
                say(f"{application}: {state}{why}")
        left = {name: state for name, state in states.items() if state not in DONE}
        if not left or (time.monotonic() > ending and set(left.values()) == {ENDING}):
            return
        if time.monotonic() > end:
            late = next(iter(left))
            raise NotHealthy(f"{late} is not healthy after {timeout_s:.0f} s ({states[late]}){why}")
        time.sleep(POLL_S)


DONE = ("ready", "removed")
ENDING = "its answers end"
ENDING_S = 45.0
"""How long what is removed is waited for: models have stopped by then, a provider's answers may take longer."""


def _state(change: Change, deployed: Deployed, complete: Completed) -> str:
    """Return how far a change has come; NotHealthy if it has failed."""
    found = deployed.applications.get(change.application)
    if change.kind == "remove":
        return "removed" if found is None else ENDING
    if found is None:
        return "not known to Serve yet"
    if found["status"] == FAILED:
        raise NotHealthy(f"{change.application} failed: {_reason(found)}")
    if complete.is_true_of(change, _deployments(found), found["status"] == RUNNING):
        return "ready"
    starting = [name for name, one in _deployments(found).items() if one.get("status") != "HEALTHY"]
    if not starting:
        return "being changed" if change.kind == "in place" else "being built"
    return f"{', '.join(starting)} {'starts' if len(starting) == 1 else 'start'}"


def _reason(application: Mapping[str, Any]) -> str:
    """Return one sentence on why it failed: what the replica said, or the last line of what Serve tells."""
    broken = [one for one in _deployments(application).values() if one.get("status") in (FAILED, "UNHEALTHY")]
    for deployment in broken:
        message = str(deployment.get("message") or "")
        failure = in_message(message)
        return failure.sentence if failure else refusal(message)
    return refusal(str(application.get("message") or ""))


def _deployments(application: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    return application.get("deployments") or {}

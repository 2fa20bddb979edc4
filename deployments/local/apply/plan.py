"""What Serve will do to each application when a service file takes the place of the deployed one.

Serve hashes what the code of an application is built from (`get_app_code_version`) and what a replica's process is
started with (`DeploymentVersion`): another hash is another process. All else it changes in place.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from pydantic import ValidationError

from deployments.config import VLLMModel, model_of
from deployments.local.service_document import Tree, applications_of, deployments_of, is_model

Kind = Literal["add", "restart", "in place", "remove"]

BUILT_FROM = ("import_path", "runtime_env", "args", "autoscaling_policy")
BUILT_FROM_DEPLOYMENT = ("request_router_config", "deployment_actors")
STARTED_WITH = (
    "ray_actor_options",
    "placement_group_bundles",
    "placement_group_strategy",
    "placement_group_bundle_label_selector",
    "placement_group_fallback_strategy",
    "max_replicas_per_node",
    "gang_scheduling_config",
)
MAX_NAMED = 6
Missing: Any = object()


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to one application; `fields` are the places in the file that differ, without their values."""

    application: str
    kind: Kind
    fields: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    """The deployments whose replicas are replaced."""
    held: tuple[str, ...] = ()
    """Those of them whose old replicas stop before the new ones start."""


def plan(deployed: Tree, wanted: Tree) -> list[Change]:
    """Return what changes, in the order of the wanted file, and then what is removed."""
    before = {str(one["name"]): one for one in applications_of(deployed)}
    after = {str(one["name"]): one for one in applications_of(wanted)}
    changes = [
        Change(name, "add") if name not in before else _change(name, before[name], application)
        for name, application in after.items()
    ]
    removed = [Change(name, "remove") for name in before if name not in after]
    return [*(change for change in changes if change is not None), *removed]


def _change(name: str, before: Tree, after: Tree) -> Change | None:
    fields = tuple(_differences({**before, "deployments": _by_name(before)}, {**after, "deployments": _by_name(after)}))
    if not fields:
        return None
    replaced = _replaced(before, after)
    held = tuple(one for one in replaced if not _surges(after, one))
    return Change(name, "restart" if replaced else "in place", fields, replaced, held)


def _replaced(before: Tree, after: Tree) -> tuple[str, ...]:
    old, new = _by_name(before), _by_name(after)
    if _built_from(before) != _built_from(after):
        return tuple(dict.fromkeys((*_expected(after), *new)))
    return tuple(
        name
        for name in dict.fromkeys((*old, *new))
        if _given(old.get(name, {}), STARTED_WITH) != _given(new.get(name, {}), STARTED_WITH)
    )


def _built_from(application: Tree) -> object:
    deployments = deployments_of(application)
    scaling = [one["autoscaling_config"] for one in deployments if isinstance(one.get("autoscaling_config"), dict)]
    lists = [[one[name] for one in deployments if one.get(name) is not None] for name in BUILT_FROM_DEPLOYMENT]
    # As Serve counts it: that a deployment has an `autoscaling_config` matters, of what is in it the policy alone.
    return _given(application, BUILT_FROM), [one.get("policy") for one in scaling], lists


def _given(tree: Tree, names: Sequence[str]) -> Tree:
    """Return these fields; what is left out, null or empty means the same to Serve."""
    return {name: tree[name] for name in names if tree.get(name) not in (None, {}, [])}


def _expected(application: Tree) -> tuple[str, ...]:
    """Return the deployments that an application has by its code."""
    if is_model(application):
        return (str(application["args"].get("id") and model_of(application["args"]).deployment),)
    models = tuple(model_of(model).deployment for model in (application.get("args") or {}).get("models") or ())
    return ("Ingress", "CacheLookup", *models)


def _surges(application: Tree, deployment: str) -> bool:
    """Whether a new replica starts before an old one stops: as the file says, or as deployments/app.py has it."""
    configured = _by_name(application).get(deployment, {}).get("max_surge_percent")
    if configured is not None:
        return bool(configured)
    arguments = application.get("args") or {}
    return deployment not in {
        model.deployment
        for model in map(_model, [arguments] if is_model(application) else arguments.get("models") or ())
        if isinstance(model, VLLMModel)
    }


def _model(arguments: Tree) -> Any:
    try:
        return model_of(arguments)
    except ValidationError:
        return None


def _by_name(application: Tree) -> dict[str, Tree]:
    return {str(one.get("name")): one for one in deployments_of(application)}


def _differences(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """Yield the places that differ, as deep as both have a mapping there."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        old, new = cast(Mapping[str, Any], before), cast(Mapping[str, Any], after)
        for name in dict.fromkeys((*old, *new)):
            yield from _differences(old.get(name, Missing), new.get(name, Missing), f"{path}.{name}".lstrip("."))
    elif before != after and not (_is_nothing(before) and _is_nothing(after)):
        yield path


def _is_nothing(value: Any) -> bool:
    return value is Missing or value in (None, {}, [])


def lines(changes: Sequence[Change], unchanged: int, took_s: Mapping[str, float]) -> list[str]:
    """Return the plan for a person; `took_s` has the seconds that deployments took to load before."""
    rows = [_line(change, took_s) for change in changes]
    return [*rows, f"{unchanged} application{'' if unchanged == 1 else 's'} unchanged."]


def _line(change: Change, took_s: Mapping[str, float]) -> str:
    named = ", ".join(field.removeprefix("deployments.") for field in change.fields[:MAX_NAMED])
    more = len(change.fields) - MAX_NAMED
    parts = [f"{named}{f' and {more} more' if more > 0 else ''}"] if named else []
    if change.kind == "restart":
        parts.append(_during(change))
    known = [took_s[name] for name in (change.replaced or (change.application,)) if name in took_s]
    if known and change.kind in ("add", "restart"):
        parts.append(f"loading took {max(known):.0f} s before")
    return f"  {change.kind:<9} {change.application}{': ' if parts else ''}{'; '.join(parts)}"


def _during(change: Change) -> str:
    if not change.held:
        return "the old replicas answer until the new ones are ready, and finish their answers in the background"
    return f"requests to {', '.join(change.held)} are held until the new replicas are ready"

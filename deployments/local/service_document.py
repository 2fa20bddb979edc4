"""The applications of a service file: one of ingress and cache, and one for each model.

A file of the earlier form has all models in the `args:` of its only application. It is taken apart when it is read, so
that the rest of the launcher knows one form.
"""

from typing import Any, cast

from pydantic import ValidationError

from deployments.config import (
    AnyModel,
    IngressUserConfig,
    ModelUserConfig,
    ReplicaUserConfig,
    Settings,
    VLLMModel,
    first_problem,
    model_of,
)
from deployments.models.scaling import AUTOSCALER

Tree = dict[str, Any]

MODEL_PATH = "deployments.app:build_model"


def is_model(application: Tree) -> bool:
    """Whether an application is that of a model."""
    return str(application.get("import_path", "")).replace(":", ".") == MODEL_PATH.replace(":", ".")


def model_applications(document: Tree) -> list[Tree]:
    """Return the applications of models, in the order of the file."""
    return [application for application in applications_of(document) if is_model(application)]


def main_application(document: Tree) -> Tree:
    """Return the application of ingress and cache; ValueError unless there is exactly one."""
    found = [application for application in applications_of(document) if not is_model(application)]
    if len(found) != 1:
        raise ValueError(
            "`applications` must be a list of exactly one application of ingress and cache, and one of each model "
            f"(`import_path: {MODEL_PATH}`)"
        )
    return found[0]


def applications_of(document: Tree) -> list[Tree]:
    """Return all applications."""
    found = document.get("applications")
    return (
        [cast(Tree, one) for one in cast(list[Any], found) if isinstance(one, dict)] if isinstance(found, list) else []
    )


def deployments_of(application: Tree) -> list[Tree]:
    """Return what an application says of its deployments."""
    found = application.get("deployments")
    return [entry for entry in cast(list[Any], found) if isinstance(entry, dict)] if isinstance(found, list) else []


def is_single(document: Tree) -> bool:
    """Whether the file has its models in the application of ingress and cache, as all files once had."""
    return "models" in main_arguments(document)


def main_arguments(document: Tree) -> Tree:
    """Return the `args:` of the application of ingress and cache, which may be left out."""
    arguments = main_application(document).get("args")
    if arguments is None and model_applications(document):
        return {}
    if not isinstance(arguments, dict):
        raise ValueError("applications[0].args is missing: it names the models that are served")
    return cast(Tree, arguments)


def taken_apart(document: Tree) -> None:
    """Give each model of a file of the earlier form an application of its own, with its deployment."""
    main = main_application(document)
    deployments = {str(one.get("name")): one for one in deployments_of(main)}
    for model in main["args"].pop("models"):
        name = model_of(model).deployment
        application: Tree = {"name": name, "import_path": MODEL_PATH, "route_prefix": None, "args": model}
        deployment = _with_level(deployments.pop(name, None), name, main["args"].get("log_level"))
        if deployment is not None:
            application["deployments"] = [deployment]
        document["applications"].append(application)
    if "deployments" in main:
        main["deployments"] = list(deployments.values())
    main.setdefault("name", "chatllm")
    main.setdefault("route_prefix", "/")


def scale_by_load(application: Tree) -> None:
    """Let a vLLM model that scales do so by the load of its engines, unless the file names another policy.

    A model with `runner: pooling` keeps Serve's: its requests have no token until they end, so none counts as running.
    """
    model = model_of(application["args"])
    if not isinstance(model, VLLMModel) or model.engine.get("runner") == "pooling":
        return
    for deployment in deployments_of(application):
        if isinstance(scaling := deployment.get("autoscaling_config"), dict):
            cast(Tree, scaling).setdefault("policy", {"policy_function": AUTOSCALER})


def _with_level(deployment: Tree | None, name: str, level: Any) -> Tree | None:
    """Return a model's deployment with the log level that held for all, unless it has one of its own."""
    if level is None:
        return deployment
    found = deployment or {"name": name}
    return {**found, "user_config": {"log_level": level, **(found.get("user_config") or {})}}


def settings_of(document: Tree) -> Settings:
    """Return what the file means as a whole; ValueError with the place of the first thing that is wrong."""
    arguments = _valid(Settings.model_validate, main_arguments(document), "args")
    changes = _changes(document)
    if arguments.models:
        models = list(arguments.models)
    else:
        models = [_model(application) for application in model_applications(document)]
    settings = arguments.serving(models, changes)
    if not models:
        raise ValueError(f"there is no model: give one an application (`import_path: {MODEL_PATH}`)")
    if unknown := [name for name in changes.models if name not in {model.id for model in models}]:
        raise ValueError(f"user_config of Ingress: models.{unknown[0]}: there is no such model")
    if settings.problems:
        raise ValueError(settings.problems[0])
    _require_single_names(document)
    return settings


def ingress_user_config(document: Tree) -> Tree:
    """Return the `user_config:` of `Ingress`, empty where there is none."""
    found = (
        one.get("user_config") for one in deployments_of(main_application(document)) if one.get("name") == "Ingress"
    )
    config = next(found, None)
    return cast(Tree, config) if isinstance(config, dict) else {}


def _changes(document: Tree) -> IngressUserConfig:
    changes = IngressUserConfig()
    for application in applications_of(document):
        for deployment in deployments_of(application):
            name, config = str(deployment.get("name")), deployment.get("user_config")
            if config is not None and name == "Ingress" and not is_model(application):
                changes = _valid(IngressUserConfig.model_validate, config, "user_config of Ingress")
            elif config is not None:
                kind = ModelUserConfig if is_model(application) or name.startswith("model-") else ReplicaUserConfig
                _valid(kind.model_validate, config, f"user_config of {name}")
    return changes


def _model(application: Tree) -> AnyModel:
    name = application.get("name")
    model: AnyModel = _valid(model_of, application.get("args") or {}, f"application {name!r}: args")
    for deployment in deployments_of(application):
        if deployment.get("name") != model.deployment:
            raise ValueError(
                f"application {name!r}: deployments: its only one is called {model.deployment!r}, "
                f"not {deployment.get('name')!r}"
            )
    if application.get("route_prefix", "/") is not None:
        raise ValueError(f"application {name!r}: `route_prefix` must be null: requests come by the ingress")
    return model


def _require_single_names(document: Tree) -> None:
    names = [str(application.get("name")) for application in applications_of(document)]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"two applications are called {twice[0]!r}: each needs a name of its own")


def _valid(validate: Any, value: Any, place: str) -> Any:
    try:
        return validate(value)
    except ValidationError as error:
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise ValueError(f"{first_problem(error, place)}{more}") from None

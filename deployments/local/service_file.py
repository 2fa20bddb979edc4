"""The configuration file as it is deployed on this machine.

The launcher reads `serve_config.yaml`, puts in the port and the model that the
user asked for, makes paths absolute, and writes the result into the state
folder. What is wrong with the file is one sentence that names the field.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import yaml
from pydantic import ValidationError

from deployments.config import Settings, VLLMModel, model_of
from deployments.local.hardware import cpu_arguments, cpu_flags, gpus
from deployments.local.service_document import (
    Tree,
    applications_of,
    deployments_of,
    ingress_user_config,
    is_single,
    main_arguments,
    model_applications,
    scale_by_load,
    settings_of,
    taken_apart,
)
from deployments.local.settings import REPOSITORY, LauncherSettings
from deployments.local.state import LauncherError
from deployments.models.catalogue import Catalogue, is_path
from deployments.weights import bundled
from deployments.weights.packaged import PACKAGES, Package

SHIPPED = REPOSITORY / "serve_config.yaml"
GUIDE = REPOSITORY / "configs/guide.yaml"

# Engine arguments that were chosen for the default model and fit no other.
DEMO_ONLY = ("dtype", "max_model_len", "enforce_eager", "override_generation_config")
PATHS = {"engine": ("model", "tokenizer", "chat_template"), "chat": ("chat_template",)}


@dataclass(frozen=True, slots=True)
class ServiceFile:
    """What is deployed: Serve's document, and the settings inside it, checked."""

    document: Tree
    settings: Settings
    lacks_bundled: bool = False
    """Whether it names the model that comes with the packages, which is not in the state folder."""
    lacks: tuple[Package, ...] = ()
    """The models that it names, come as packages of their own, and are not in the state folder."""
    was_single: bool = False
    """Whether the file is of the earlier form, with its models in the application of ingress and cache."""

    @property
    def host(self) -> str:
        """The interface on which the API listens."""
        return str(_child(self.document, "http_options").get("host") or "127.0.0.1")

    @property
    def uses_gpus(self) -> bool:
        """Whether a replica is to have a GPU."""
        deployments = [one for application in applications_of(self.document) for one in deployments_of(application)]
        return any(_child(one, "ray_actor_options").get("num_gpus") for one in deployments)

    def write(self, path: Path) -> None:
        """Write the document for the process that deploys it."""
        path.write_text(yaml.safe_dump(self.document, sort_keys=False), encoding="utf-8")


def read(launcher: LauncherSettings) -> ServiceFile:
    """Read and complete the file that the launcher was told; LauncherError says what is wrong with it."""
    document, was_single = _load(launcher.config)
    settings = _check(document, launcher.config)
    if launcher.model:
        _replace_default(document, settings, launcher.model)
    lacks_bundled = _place_bundled(document, launcher)
    lacks = tuple(package for package in PACKAGES if _place(package, document, launcher))
    for application in model_applications(document):
        _make_absolute(application["args"])
        _offer_own_adapters(application["args"], launcher)
        scale_by_load(application)
    settings = _check(document, launcher.config)
    _place_on_gpus(document)
    host = {"host": launcher.host} if launcher.host else {}
    document["http_options"] = {
        "host": "127.0.0.1",
        **_child(document, "http_options"),
        **host,
        "port": launcher.port,
    }
    return ServiceFile(document, settings, lacks_bundled, lacks, was_single)


def written(path: Path) -> Settings:
    """Return the settings as they are in a file, without any additions; LauncherError says what is wrong with it."""
    document, _ = _load(path)
    for application in model_applications(document):
        _make_absolute(application["args"])
    return _check(document, path)


def _load(path: Path) -> tuple[Tree, bool]:
    """Return the checked document of a file, each model in an application of its own, and whether it was so before."""
    document = parsed(path)
    try:
        was_single = is_single(document)
        settings_of(document)
    except ValueError as error:
        raise LauncherError(f"{path}: {error}") from None
    if was_single:
        taken_apart(document)
    return document, was_single


def parsed(path: Path) -> Tree:
    """Return what a file says, unchecked; LauncherError if it cannot be read."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LauncherError(f"cannot read the configuration {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise LauncherError(f"{path} is not a text file in UTF-8") from None
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise LauncherError(f"{path}{line} is not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise LauncherError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(document, dict):
        raise LauncherError(f"{path} must hold the settings of Ray Serve: `applications:` and what belongs to it")
    return cast(Tree, document)


def _check(document: Tree, path: Path) -> Settings:
    try:
        return settings_of(document)
    except ValueError as error:
        raise LauncherError(f"{path}: {error}") from None


def _replace_default(document: Tree, settings: Settings, name: str) -> None:
    """Serve the model `name` where the file has its default one, under a name of its own."""
    catalogued = _catalogued(name)
    model: Tree = _application_of(document, settings.default.id)["args"]
    given = {key: value for key, value in model.get("engine", {}).items() if key not in ("model", *DEMO_ONLY)}
    kept = {key: value for key, value in model.items() if key in ("environment", "max_prompt_messages")}
    if "environment" in kept:  # how much memory this model gets is planned
        kept["environment"] = {k: v for k, v in kept["environment"].items() if k != "VLLM_CPU_KVCACHE_SPACE"}
    new = {**kept, **catalogued, "engine": {**catalogued["engine"], **given}}
    try:
        VLLMModel.model_validate(new)
    except ValidationError as error:
        raise LauncherError(f"CHATLLM_MODEL={name} cannot be served: {error.errors()[0]['msg']}") from None
    _replace(document, settings.default.id, new)


def _replace(document: Tree, identifier: str, new: Tree) -> None:
    """Put a model in the place of another one, and its names in the places of the other's."""
    application = _application_of(document, identifier)
    old, now = model_of(application["args"]).deployment, model_of(new).deployment
    application["args"] = new
    for named in (application, *deployments_of(application)):
        if named.get("name") == old:
            named["name"] = now
    _rename_default(document, identifier, new["id"])


def _rename_default(document: Tree, identifier: str, new: str) -> None:
    for settings in (main_arguments(document), config := ingress_user_config(document)):
        if settings.get("default_model") == identifier:
            settings["default_model"] = new
    if isinstance(changes := config.get("models"), dict):
        changes.pop(identifier, None)  # they were chosen for the other model


def _application_of(document: Tree, identifier: str) -> Tree:
    return next(one for one in model_applications(document) if one["args"]["id"] == identifier)


def _catalogued(name: str) -> Tree:
    """Return a whole entry for a catalogue name, a Hugging Face id or a path; LauncherError if it is none of them."""
    catalogue = Catalogue.load()
    if is_path(name):
        if not Path(name).expanduser().exists():
            raise LauncherError(f"CHATLLM_MODEL={name}: there is no such folder")
    elif ":" in name and catalogue.entry(name) is None:
        known = ", ".join(catalogue.suggestions(name)) or "names such as qwen3:0.6b"
        raise LauncherError(f"CHATLLM_MODEL={name} is not in the catalogue, which has {known}")
    return catalogue.settings_for(name, on_gpu=bool(gpus()))


def _place_bundled(document: Tree, launcher: LauncherSettings) -> bool:
    """Have the model that comes with the packages served from the state folder; return whether it is missing there.

    Where it is missing, the shipped file's default model is the demo model, and any other file's is vLLM's to find.
    """
    state = launcher.state.expanduser().resolve()
    wanted = _made_of(document, bundled.HUB_ID)
    if not wanted or bundled.is_ready(state):
        for model in wanted:
            model["engine"]["model"] = str(bundled.folder(state))
            if not gpus():
                model["engine"] = {**cpu_arguments(cpu_flags()), **model["engine"]}
        return False
    if launcher.config.resolve() == SHIPPED and not launcher.model:
        for model in wanted:
            _serve_guide(document, model)
    return True


def _place(package: Package, document: Tree, launcher: LauncherSettings) -> bool:
    """Have a model that is a package served from the state folder; return whether it is missing there."""
    state = launcher.state.expanduser().resolve()
    wanted = _made_of(document, package.hub_id)
    is_ready = bool(wanted) and package.is_ready(state)
    for model in wanted if is_ready else ():
        model["engine"]["model"] = str(package.folder(state))
    return bool(wanted) and not is_ready


def _made_of(document: Tree, name: str) -> list[Tree]:
    models = (application["args"] for application in model_applications(document))
    return [model for model in models if _child(model, "engine").get("model") == name]


def _serve_guide(document: Tree, model: Tree) -> None:
    """Put the demo model, as its own file has it, in the place of another, unless the file has it anyway."""
    (guide,) = (application["args"] for application in model_applications(_load(GUIDE)[0]))
    if any(application["args"]["id"] == guide["id"] for application in model_applications(document)):
        document["applications"].remove(_application_of(document, model["id"]))
        _rename_default(document, model["id"], guide["id"])
    else:
        _replace(document, model["id"], guide)


def _make_absolute(model: Tree) -> None:
    """Resolve paths against the repository: a replica may work in any folder."""
    for section, fields in PATHS.items():
        for field in fields:
            value = _child(model, section).get(field)
            if isinstance(value, str) and not Path(value).is_absolute() and (REPOSITORY / value).exists():
                model[section][field] = str(REPOSITORY / value)
    for module in model.get("lora_modules") or ():
        if (REPOSITORY / module["path"]).exists():
            module["path"] = str(REPOSITORY / module["path"])
    loading = model.get("adapter_loading") or {}
    if loading.get("folders"):
        loading["folders"] = [str(REPOSITORY / Path(folder).expanduser()) for folder in loading["folders"]]


def _offer_own_adapters(model: Tree, launcher: LauncherSettings) -> None:
    """Let adapters also lie in the state folder, where adapters may be loaded at all."""
    loading = model.get("adapter_loading")
    if loading is not None:
        loading["folders"] = [*(loading.get("folders") or ()), str(launcher.state.expanduser().resolve() / "adapters")]


def _place_on_gpus(document: Tree) -> None:
    """Ask Ray for a GPU per vLLM worker, unless the file says how many; without one it would hide them all."""
    if not gpus():
        return
    for application in model_applications(document):
        model = model_of(application["args"])
        if isinstance(model, VLLMModel):
            (deployment,) = deployments_of(application) or [Tree(name=model.deployment)]
            application["deployments"] = [deployment]
            options = deployment.setdefault("ray_actor_options", {})
            options.setdefault("num_gpus", model.engine.get("tensor_parallel_size", 1))


def _child(tree: Tree, name: str) -> Tree:
    found = tree.get(name)
    return cast(Tree, found) if isinstance(found, dict) else {}

"""The configuration file as it is deployed on this machine.

The launcher reads `serve_config.yaml`, puts in the port and the model that the
user asked for, makes paths absolute, and writes the result into the state
folder. What is wrong with the file is one sentence that names the field.
"""

import shutil
import subprocess
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import ValidationError

from deployments.config import Settings, VLLMModel
from deployments.local.settings import REPOSITORY, LauncherSettings
from deployments.local.state import LauncherError
from deployments.models.catalogue import Catalogue, is_path
from deployments.weights import bundled, minilm

Tree = dict[str, Any]

SHIPPED = REPOSITORY / "serve_config.yaml"
GUIDE = REPOSITORY / "configs/guide.yaml"

# Engine arguments that were chosen for the default model and fit no other.
DEMO_ONLY = ("dtype", "max_model_len", "enforce_eager", "override_generation_config")
BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16"}
PATHS = {"engine": ("model", "tokenizer", "chat_template"), "chat": ("chat_template",)}


@dataclass(frozen=True, slots=True)
class ServiceFile:
    """What is deployed: Serve's document, and the settings inside it, checked."""

    document: Tree
    settings: Settings
    lacks_bundled: bool = False
    """Whether it names the model that comes with the packages, which is not in the state folder."""
    lacks_minilm: bool = False
    """Whether it names the model for embeddings that is a package, which is not in the state folder."""

    @property
    def host(self) -> str:
        """The interface on which the API listens."""
        return str(_child(self.document, "http_options").get("host") or "127.0.0.1")

    @property
    def uses_gpus(self) -> bool:
        """Whether a replica is to have a GPU."""
        deployments = [one for application in self.document["applications"] for one in _deployments(application)]
        return any(_child(one, "ray_actor_options").get("num_gpus") for one in deployments)

    def write(self, path: Path) -> None:
        """Write the document for the process that deploys it."""
        path.write_text(yaml.safe_dump(self.document, sort_keys=False), encoding="utf-8")


def read(launcher: LauncherSettings) -> ServiceFile:
    """Read and complete the file that the launcher was told; LauncherError says what is wrong with it."""
    document = _load(launcher.config)
    application = _application(document, launcher.config)
    arguments = _child(application, "args")
    _check(arguments, launcher.config)
    if launcher.model:
        _replace_default(application, launcher.model)
    lacks_bundled, lacks_minilm = _place_bundled(application, launcher), _place_minilm(application, launcher)
    for model in arguments["models"]:
        _make_absolute(model)
        _offer_own_adapters(model, launcher)
    settings = _check(arguments, launcher.config)
    _place_on_gpus(application, settings)
    document["http_options"] = {"host": "127.0.0.1", **_child(document, "http_options"), "port": launcher.port}
    return ServiceFile(document=document, settings=settings, lacks_bundled=lacks_bundled, lacks_minilm=lacks_minilm)


def written(path: Path) -> Settings:
    """Return the settings as a file has them, nothing put in or replaced; LauncherError says what is wrong with it."""
    arguments = _child(_application(_load(path), path), "args")
    _check(arguments, path)
    for model in arguments["models"]:
        _make_absolute(model)
    return _check(arguments, path)


def _load(path: Path) -> Tree:
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


def _application(document: Tree, path: Path) -> Tree:
    found = document.get("applications")
    if not isinstance(found, list) or len(cast(list[Any], found)) != 1 or not isinstance(found[0], dict):
        raise LauncherError(f"{path}: `applications` must be a list of exactly one application")
    application = cast(Tree, found[0])
    if not isinstance(application.get("args"), dict):
        raise LauncherError(f"{path}: applications[0].args is missing: it names the models that are served")
    return application


def _check(arguments: Tree, path: Path) -> Settings:
    try:
        return Settings.model_validate(arguments)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(["args", *(str(part) for part in first["loc"])])
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise LauncherError(f"{path}: {field}: {first['msg']}{more}") from None


def _replace_default(application: Tree, name: str) -> None:
    """Serve the model `name` where the file has its default one, under a name of its own."""
    arguments = application["args"]
    old = Settings.model_validate(arguments).default
    catalogued = _catalogued(name)
    model: Tree = next(model for model in arguments["models"] if model["id"] == old.id)
    said = {key: value for key, value in model.get("engine", {}).items() if key not in ("model", *DEMO_ONLY)}
    kept = {key: value for key, value in model.items() if key in ("environment", "max_prompt_messages")}
    if "environment" in kept:  # how much memory this model gets is planned
        kept["environment"] = {k: v for k, v in kept["environment"].items() if k != "VLLM_CPU_KVCACHE_SPACE"}
    model.clear()
    model.update({**kept, **catalogued, "engine": {**catalogued["engine"], **said}})
    identifier = catalogued["id"]
    if arguments.get("default_model") == old.id:
        arguments["default_model"] = identifier
    try:
        new = VLLMModel.model_validate(model)
    except ValidationError as error:
        raise LauncherError(f"CHATLLM_MODEL={name} cannot be served: {error.errors()[0]['msg']}") from None
    for deployment in _deployments(application):
        if deployment.get("name") == old.deployment:
            deployment["name"] = new.deployment


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


def _place_bundled(application: Tree, launcher: LauncherSettings) -> bool:
    """Have the model that comes with the packages served from the state folder; return whether it is missing there.

    Where it is missing, the shipped file's default model is the demo model, and any other file's is vLLM's to find.
    """
    state = launcher.state.expanduser().resolve()
    wanted = [m for m in application["args"]["models"] if _child(m, "engine").get("model") == bundled.HUB_ID]
    if not wanted or bundled.is_ready(state):
        for model in wanted:
            model["engine"]["model"] = str(bundled.folder(state))
            if not gpus():
                model["engine"].setdefault("dtype", cpu_dtype(cpu_flags()))
        return False
    if launcher.config.resolve() == SHIPPED and not launcher.model:
        for model in wanted:
            _serve_guide(application, model)
    return True


def _place_minilm(application: Tree, launcher: LauncherSettings) -> bool:
    """Have the model for embeddings served from the state folder; return whether it is missing there."""
    state = launcher.state.expanduser().resolve()
    wanted = [m for m in application["args"]["models"] if _child(m, "engine").get("model") == minilm.HUB_ID]
    is_ready = bool(wanted) and minilm.is_ready(state)
    for model in wanted if is_ready else ():
        model["engine"]["model"] = str(minilm.folder(state))
    return bool(wanted) and not is_ready


def _serve_guide(application: Tree, model: Tree) -> None:
    """Put the demo model, as its own file has it, in the place of another, unless the file has it anyway."""
    (guide,) = _application(_load(GUIDE), GUIDE)["args"]["models"]
    arguments, old = application["args"], VLLMModel.model_validate(model)
    if any(one["id"] == guide["id"] for one in arguments["models"]):
        arguments["models"].remove(model)
        application["deployments"] = [d for d in _deployments(application) if d.get("name") != old.deployment]
    else:
        model.clear()
        model.update(guide)
    if arguments.get("default_model") == old.id:
        arguments["default_model"] = guide["id"]
    for deployment in _deployments(application):
        if deployment.get("name") == old.deployment:
            deployment["name"] = VLLMModel.model_validate(guide).deployment


def cpu_dtype(flags: AbstractSet[str]) -> str:
    """Return the faster of two types on a CPU: bfloat16 where it computes in it, which not all do.

    Without such instructions float32 is three times as fast.
    """
    return "bfloat16" if flags & BFLOAT16_FLAGS else "float32"


def cpu_flags() -> AbstractSet[str]:
    """Return what this machine's CPU can do, by Linux's names; nothing where that cannot be read."""
    try:
        return set(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return set()


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


def _place_on_gpus(application: Tree, settings: Settings) -> None:
    """Ask Ray for a GPU per vLLM worker, unless the file says how many; without one it would hide them all."""
    if not gpus():
        return
    named = {deployment.get("name"): deployment for deployment in _deployments(application)}
    for model in settings.models:
        if isinstance(model, VLLMModel):
            deployment = named.get(model.deployment) or {"name": model.deployment}
            options = deployment.setdefault("ray_actor_options", {})
            options.setdefault("num_gpus", model.engine.get("tensor_parallel_size", 1))
            if model.deployment not in named:
                application.setdefault("deployments", []).append(deployment)


def gpus() -> Sequence[str]:
    """Return the names of this machine's NVIDIA GPUs."""
    program = shutil.which("nvidia-smi")
    if not program:
        return []
    try:
        listing = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=20, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        return []
    return [line for line in listing.stdout.splitlines() if line.startswith("GPU ")]


def _deployments(application: Tree) -> list[Tree]:
    found = application.get("deployments")
    return [entry for entry in cast(list[Any], found) if isinstance(entry, dict)] if isinstance(found, list) else []


def _child(tree: Tree, name: str) -> Tree:
    found = tree.get(name)
    return cast(Tree, found) if isinstance(found, dict) else {}

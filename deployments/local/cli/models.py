"""`chatllm models`: look for models, download them, and put them into the service file."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from pydantic import ValidationError
from rich.filesize import decimal

from deployments.config import AnyModel, VLLMModel, hugging_face_cache
from deployments.local import service_file
from deployments.local.cli.editing import file_settings, tell_and_apply, valid
from deployments.local.cli.model_rows import lines, packaged_folder, row_of, rows, weights_of
from deployments.local.gguf import converted, is_gguf
from deployments.local.hardware import gpus
from deployments.local.hub.names import Meant, meant_by
from deployments.local.instance import Instance
from deployments.local.memory.room import room
from deployments.local.ray.part import config_path
from deployments.local.service_edit import replace_file, with_model, without_model
from deployments.local.settings import LauncherSettings
from deployments.local.state import LauncherError, StateFolder
from deployments.local.steps import steps_for
from deployments.models.catalogue import Catalogue

models_app = typer.Typer(
    help="Find models, download them, and add them to the service file. NAME is a name of the catalogue such as "
    "qwen3:0.6b, a Hugging Face id such as Qwen/Qwen3-0.6B, or a folder.",
    no_args_is_help=True,
)

Config = Annotated[Path | None, typer.Option(help="The service file, instead of serve_config.yaml.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print everything as JSON.")]
Revision = Annotated[str, typer.Option(help="Branch, tag or commit on the hub.")]
Name = Annotated[str, typer.Argument(metavar="NAME")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Apply it to the running service without asking.")]


@models_app.command("list")
def list_models(config: Config = None, as_json: AsJson = False) -> None:
    """List the models that are served, on this disk, or in the catalogue, and say which fit this machine."""
    settings = file_settings(config)
    found = rows(_served(settings), room(), settings.state.absolute())
    typer.echo(json.dumps([row.as_json for row in found], indent=2) if as_json else "\n".join(lines(found)))


@models_app.command()
def show(name: Name, config: Config = None, as_json: AsJson = False) -> None:
    """Show a model, and the settings with which `add` would serve it."""
    settings = file_settings(config)
    description = _description(_meant(name, _served(settings)), settings)
    if as_json:
        typer.echo(json.dumps(description, indent=2))
        return
    entry = description.pop("settings")
    for field, value in description.items():
        if value not in (None, "", []):
            typer.echo(f"{field.replace('_', ' '):<13} {', '.join(value) if isinstance(value, list) else value}")
    typer.echo("settings\n" + "\n".join(f"  {line}" for line in _yaml(entry).splitlines()))


@models_app.command()
def pull(name: Name, revision: Revision = "main") -> None:
    """Download a model, or what is missing of it, and check every file. It continues where it was interrupted."""
    meant = meant_by(name)
    if meant.folder is not None:
        raise LauncherError(f"{meant.folder} is a folder of this machine: there is nothing to download")
    if revision == "main" and packaged_folder(meant.model, file_settings(None).state.absolute()):
        typer.echo(f"{meant.model} comes with the packages: there is nothing to download.")
        return
    typer.echo(f"{meant.model} is in {download(meant, revision)}")


@models_app.command()
def add(
    name: Name,
    identifier: Annotated[str | None, typer.Option("--id", help="Its name in the API.")] = None,
    revision: Revision = "main",
    anyway: Annotated[bool, typer.Option("--anyway", help="Add it even if it does not fit this machine.")] = False,
    yes: Yes = False,
    config: Config = None,
) -> None:
    """Download a model if it is missing, and add it to the service file with the settings that it needs."""
    settings = file_settings(config)
    meant = None if is_gguf(name) else meant_by(name)
    chosen = identifier or (meant.identifier if meant else Path(name).stem)
    if any(model.id == chosen for model in _served(settings)):
        raise LauncherError(f"{settings.config} has a model {chosen!r} already: give this one another name with --id")
    meant = meant or _from_gguf(Path(name).expanduser().resolve(), settings)
    if not anyway:
        _require_fit(meant, settings)
    is_packaged = revision == "main" and packaged_folder(meant.model, settings.state.absolute()) is not None
    if not is_packaged and not meant.is_here(revision):
        download(meant, revision)
    _require_model(meant)
    entry = _entry(meant, chosen, revision)  # now with what its own files tell
    deployment = {"name": _deployment(entry), "num_replicas": 1, "ray_actor_options": {"num_cpus": 0.1}}
    with StateFolder.open(settings.state).locked("models"):
        replace_file(settings.config, lambda text: valid(with_model(text, entry, deployment), settings.config))
    tell_and_apply(f"Added {chosen} to {settings.config}.", settings, yes)


@models_app.command()
def remove(name: Name, yes: Yes = False, config: Config = None) -> None:
    """Take a model out of the service file; it stays on the disk."""
    settings = file_settings(config)
    model = _one_served(name, settings)
    service = service_file.written(settings.config)
    if len(service.models) == 1:
        raise LauncherError(f"{model.id} is the only model of {settings.config}: add another one first")
    named = [f"alias {alias}" for alias, of in service.aliases.items() if of == model.id]
    named += ["default_model"] if service.default_model == model.id else []
    if named:
        raise LauncherError(f"{model.id} is named by {', '.join(named)} in {settings.config}: change that first")
    with StateFolder.open(settings.state).locked("models"):
        replace_file(
            settings.config, lambda text: valid(without_model(text, model.id, model.deployment), settings.config)
        )
    tell_and_apply(f"Removed {model.id} from {settings.config}.", settings, yes)


@models_app.command()
def rm(
    name: Name,
    config: Config = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    """Delete a downloaded model from the disk, with all of its revisions."""
    meant, settings = meant_by(name), file_settings(config)
    if meant.folder is not None:
        raise LauncherError(f"{meant.folder} was not downloaded by chatllm: delete it yourself")
    found = meant.stored
    if found is None:
        raise LauncherError(f"{meant.model} is not in {hugging_face_cache()}")
    users = [model.id for model in _served(settings) if weights_of(model) == meant.model]
    if users:
        raise LauncherError(
            f"{settings.config} serves it as {', '.join(users)}: chatllm models remove {users[0]} first"
        )
    if any(weights_of(model) == meant.model for model in _running(settings)):
        raise LauncherError(f"the running service serves {meant.model}: make stop first")
    size = decimal(found.bytes)
    if not yes:
        typer.confirm(f"Delete {meant.model} ({size}), which other programs may use too?", abort=True)
    found.remove()
    typer.echo(f"Deleted {meant.model}: {size} freed.")


def download(meant: Meant, revision: str) -> Path:
    """Pull a model from the hub with visible progress."""
    from huggingface_hub import constants

    from deployments.hub.errors import HubError
    from deployments.hub.progress import transfer_for
    from deployments.hub.pull import Pull

    pull = Pull(constants.ENDPOINT, hugging_face_cache(), meant.model, revision)
    try:
        return pull.run(transfer_for(meant.model, sys.stdout))
    except HubError as error:
        raise LauncherError(str(error)) from error


def _served(settings: LauncherSettings) -> tuple[AnyModel, ...]:
    return service_file.written(settings.config).models


def _running(settings: LauncherSettings) -> tuple[AnyModel, ...]:
    """Return the models of the service that runs from this state folder, such as that of its CHATLLM_MODEL."""
    state = settings.state.absolute()
    return service_file.written(config_path(state)).models if Instance.read(state) else ()


def _meant(name: str, served: tuple[AnyModel, ...]) -> Meant:
    """Return what a name means, that of a served model too."""
    for model in served:
        if model.id == name and isinstance(model, VLLMModel):
            return meant_by(str(model.engine["model"]))
    return meant_by(name)


def _one_served(name: str, settings: LauncherSettings) -> AnyModel:
    """Return the model of the service file that a name means: its id, else what it is made of."""
    served = _served(settings)
    for model in served:
        if model.id == name:
            return model
    made_of = meant_by(name).model
    found = [model for model in served if weights_of(model) == made_of]
    if not found:
        raise LauncherError(f"{settings.config} has no model {name}: it has {', '.join(one.id for one in served)}")
    if len(found) > 1:
        raise LauncherError(f"{settings.config} has it as {', '.join(one.id for one in found)}: name one of these")
    return found[0]


def _entry(meant: Meant, identifier: str | None, revision: str) -> dict[str, Any]:
    """Return the entry of the service file, with the settings that the catalogue knows for the model."""
    entry = Catalogue.load().settings_for(meant.model, identifier=identifier or meant.identifier, on_gpu=_on_gpu())
    if revision != "main":
        entry["engine"]["revision"] = revision
    return entry


def _require_fit(meant: Meant, settings: LauncherSettings) -> None:
    """Refuse a model whose weights alone are too much for this machine, before they are downloaded."""
    row = row_of(meant, _served(settings), space := room(), settings.state.absolute())
    if row.fits is False:
        raise LauncherError(
            f"{row.name} has {decimal(row.bytes or 0)} of weights, and this machine has memory for "
            f"{decimal(max(0, space))}: choose a smaller one (chatllm models list), or add it with --anyway"
        )


def _require_model(meant: Meant) -> None:
    """Refuse a LoRA adapter, which is served with its model."""
    folder = meant.here
    if folder and (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        raise LauncherError(
            f"{meant.model} is a LoRA adapter: name it under lora_modules of its model, "
            f"as {{name: …, path: {meant.model}}}"
        )


def _from_gguf(file: Path, settings: LauncherSettings) -> Meant:
    with steps_for(sys.stdout).step(f"{file.name} is converted"):
        return meant_by(str(converted(file, StateFolder.open(settings.state))))


def _deployment(entry: dict[str, Any]) -> str:
    try:
        return VLLMModel.model_validate(entry).deployment
    except ValidationError as error:
        raise LauncherError(f"it cannot be served as {entry['id']!r}: {error.errors()[0]['msg']}") from None


def _on_gpu() -> bool:
    return bool(gpus())


def _description(meant: Meant, settings: LauncherSettings) -> dict[str, Any]:
    row = row_of(meant, _served(settings), room(), settings.state.absolute())
    family = Catalogue.load().family_of(meant.model)
    return {
        "name": row.name,
        "model": row.model,
        "state": row.state,
        "size": decimal(row.bytes) if row.bytes else None,
        "parameters": f"{meant.entry.parameters:,}" if meant.entry else None,
        "context": row.context,
        "can": list(row.capabilities),
        "fits": {True: "yes", False: "no, its weights are larger than this machine's memory", None: None}[row.fits],
        "family": family.title if family else None,
        "license": meant.entry.license if meant.entry else None,
        "gated": "yes: accept its terms on the hub, then set HF_TOKEN" if meant.entry and meant.entry.gated else None,
        "note": family.note if family else None,
        "folder": str(meant.here) if meant.here else None,
        "settings": _entry(meant, None, "main"),
    }


def _yaml(entry: dict[str, Any]) -> str:
    return yaml.safe_dump([entry], sort_keys=False, allow_unicode=True, width=100)

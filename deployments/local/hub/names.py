"""What a name on the command line means: a model of the catalogue, of a hub, or of a folder."""

import re
from dataclasses import dataclass
from pathlib import Path

from deployments.local.hub.on_disk import Stored, find, is_model
from deployments.local.state import LauncherError
from deployments.models.catalogue import Catalogue, Entry, identifier_of, is_path

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Meant:
    """A model: `model` is its Hugging Face id or its folder, as `engine.model` has it."""

    name: str
    model: str
    entry: Entry | None = None
    folder: Path | None = None

    @property
    def identifier(self) -> str:
        """Its name in the API unless it gets another one."""
        return self.entry.name.replace(":", "-") if self.entry else identifier_of(self.model)

    @property
    def here(self) -> Path | None:
        """The folder that it is served from, as far as it is on this machine."""
        found = self.stored
        return self.folder or (found.snapshot() if found else None)

    @property
    def stored(self) -> Stored | None:
        """What the cache holds of it."""
        return None if self.folder else find(self.model)

    def is_here(self, revision: str = "main") -> bool:
        """Whether it can be served without downloading anything."""
        return self.folder is not None or ((found := self.stored) is not None and found.is_whole(revision))


def meant_by(name: str) -> Meant:
    """Return the model; LauncherError for a name that means none, or a folder that cannot be served."""
    catalogue = Catalogue.load()
    if entry := catalogue.entry(name):
        return Meant(entry.name, entry.model, entry)
    if is_path(name):
        return _in_folder(Path(name).expanduser())
    if HUB_ID.fullmatch(name):
        return Meant(name, name)
    similar = catalogue.suggestions(name)
    hint = f"did you mean {', '.join(similar)}?" if similar else "chatllm models list names those it knows"
    raise LauncherError(f"{name!r} is not a model of the catalogue, a Hugging Face id (owner/name) or a folder: {hint}")


def _in_folder(path: Path) -> Meant:
    path = path.resolve()
    if path.suffix.lower() == ".gguf":
        raise LauncherError(
            f"{path} is a GGUF file: chatllm models add converts it if it is of a kind that can be, "
            "or pull the same model in safetensors (chatllm models pull owner/name)"
        )
    if not path.is_dir():
        raise LauncherError(f"{path} is not a folder: name the one that holds config.json and the weights")
    if not is_model(path):
        raise LauncherError(f"{path} has no config.json or not all of its weights in safetensors: vLLM needs both")
    return Meant(path.name, str(path), folder=path)

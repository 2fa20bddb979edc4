"""The models that are on this machine: what the cache of Hugging Face's library holds, whole or in part."""

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from deployments.config import hugging_face_cache
from deployments.models.files.hub_cache import PREFIX, commit_of, repository_folder

CONFIGURATIONS = ("config.json", "adapter_config.json", "params.json")
INDEX = "*.safetensors.index.json"
MAX_INDEX_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Stored:
    """A repository in the cache; `folder` holds all that was downloaded of it, of any revision."""

    repository: str
    folder: Path

    @property
    def bytes(self) -> int:
        """Bytes that it takes on the disk, those of interrupted downloads too."""
        return sum(blob.stat().st_size for blob in (self.folder / "blobs").glob("*") if blob.is_file())

    def snapshot(self, revision: str = "main") -> Path | None:
        """Return the folder of a branch, a tag or a commit as far as it has been downloaded."""
        found = self.folder / "snapshots" / (commit_of(self.folder, revision) or revision)
        return found if found.is_dir() else None

    def is_whole(self, revision: str = "main") -> bool:
        """Whether all that is needed to serve it is here."""
        folder = self.snapshot(revision)
        return folder is not None and is_model(folder)

    def remove(self) -> None:
        """Remove it, all revisions."""
        shutil.rmtree(self.folder)


def stored() -> list[Stored]:
    """Return what the cache holds, by name."""
    folders = sorted(hugging_face_cache().glob(f"{PREFIX}*"))
    return [Stored(folder.name.removeprefix(PREFIX).replace("--", "/"), folder) for folder in folders]


def find(repository: str) -> Stored | None:
    """Return a repository of the cache, or None."""
    folder = repository_folder(repository)
    return Stored(repository, folder) if folder.is_dir() else None


def is_model(folder: Path) -> bool:
    """Whether a folder holds a configuration, and all of its weights in safetensors."""
    if not any((folder / name).is_file() for name in CONFIGURATIONS):
        return False
    listed = [name for index in folder.glob(INDEX) for name in _weights(index)]
    if listed:
        return all((folder / name).is_file() for name in listed)
    return any(weights.is_file() for weights in folder.glob("*.safetensors"))


def _weights(index: Path) -> Iterator[str]:
    """Yield the files that an index of weights names; none if it cannot be read."""
    try:
        if index.stat().st_size <= MAX_INDEX_BYTES:
            found: Any = json.loads(index.read_text(encoding="utf-8"))
            yield from {str(name) for name in cast(Mapping[str, Any], found["weight_map"]).values()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return

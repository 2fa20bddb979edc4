"""The model that comes with the packages, SmolLM2-135M-Instruct: where it is, and whether it is ready.

The installation keeps the wheel that holds its weights (`configs/locks/weights.lock`) as it is, in .venv/weights;
nothing in it is imported. The first start with a state folder converts them into that folder. What is there counts
as ready only if its manifest names the wheel of the lock, this format and the files' sizes: a conversion that was
cut short, or made by an older version, is made anew.
"""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""How a service file names it; on a cluster vLLM takes it from the Hugging Face hub by this name."""
NAME = HUB_ID.rpartition("/")[2]
SIZE = "270 MB"
REPOSITORY = Path(__file__).resolve().parents[2]
LOCK = REPOSITORY / "configs/locks/weights.lock"
WHEELS = Path(sys.prefix) / "weights"
MANIFEST = "manifest.json"
FORMAT = 2
"""Of the converted folder; a higher one has every folder converted anew."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a converted folder was made from, and the sizes of its files in bytes."""

    source_sha256: str
    format: int
    files: dict[str, int]

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Return the manifest, or None if the folder has none that can be read."""
        try:
            return cls(**json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, folder: Path) -> None:
        """Write it: the last file of a folder."""
        (folder / MANIFEST).write_text(json.dumps(asdict(self), indent=2), encoding="utf-8")

    @classmethod
    def is_of(cls, folder: Path, source_sha256: str, format: int) -> bool:  # noqa: A002 - as the field
        """Whether the folder was made from this source in this format, and holds all files in their sizes."""
        found = cls.read(folder)
        return (
            found is not None
            and (found.source_sha256, found.format) == (source_sha256, format)
            and all(
                (folder / name).is_file() and (folder / name).stat().st_size == size
                for name, size in found.files.items()
            )
        )


def folder(state: Path) -> Path:
    """Return where the converted model is, or will be."""
    return state / "models" / NAME


def is_ready(state: Path) -> bool:
    """Whether it can be served from this state folder."""
    return Manifest.is_of(folder(state), sha256(), FORMAT)


def wheel() -> Path | None:
    """Return the wheel that the installation fetched, or None if it could not."""
    return next(wheels(), None)


def wheels() -> Iterator[Path]:
    """Yield what lies there under the lock's name and version; the content is checked when it is read."""
    name, version = _locked()[:2]
    yield from WHEELS.glob(f"{name.replace('-', '_')}-{version}-*.whl")


def sha256() -> str:
    """Return the hash that the wheel must have."""
    return _locked()[2]


def _locked() -> tuple[str, str, str]:
    found = re.search(
        r"^(\S+)==(\S+) \\\n +--hash=sha256:([0-9a-f]{64})$", LOCK.read_text(encoding="utf-8"), re.MULTILINE
    )
    if not found:
        raise ValueError(f"{LOCK} does not pin a package by one hash")
    return found.group(1), found.group(2), found.group(3)

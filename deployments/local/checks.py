"""What must hold before a start, each with the sentence that is said when it does not."""

import ctypes
import os
import resource
import shutil
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

import psutil

from deployments.config import AnyModel, Settings, VLLMModel
from deployments.local.processes import ports
from deployments.local.servers.external import require_postgres, require_redis
from deployments.local.settings import LauncherSettings
from deployments.local.state import LauncherError
from deployments.models.adapters import adapter_folder, engine_options
from deployments.models.loading import preflight

GIB = 1024**3
COMPILERS = ("gcc", "clang")
"""Where Triton looks, after the variable CC."""
HAPROXY_CONNECTIONS, OTHER_FILES = 4096, 100
"""Ray's choice of how many HAProxy takes, each of which is two files; and its files besides."""


def require_ports(settings: LauncherSettings, host: str) -> None:
    """Every port that a user sees is free; LauncherError names the first that is not."""
    inner = {option: port for option, port in settings.listening.items() if option not in ("port", "page-port")}
    ports.require_free({"port": settings.port}, _bindable(host))
    if settings.page:
        ports.require_free({"page-port": settings.page_port}, _bindable(settings.page_host))
    ports.require_free(inner)


def _bindable(host: str) -> str:
    return "" if host in ("0.0.0.0", "::", "*") else host  # noqa: S104 - compared, not bound


def require_stores(settings: LauncherSettings) -> None:
    """The stores that the user named answer; LauncherError says which does not, and why."""
    if settings.database_url:
        require_postgres(settings.database_url.get_secret_value())
    if settings.redis_url:
        require_redis(settings.redis_url.get_secret_value())


def require_adapters(models: Iterable[AnyModel]) -> None:
    """Every LoRA adapter is there and of a rank that can be served; LauncherError names the first that is not."""
    for model in models:
        if isinstance(model, VLLMModel):
            try:
                engine_options(model, [adapter_folder(module) for module in model.lora_modules])
            except ValueError as error:
                raise LauncherError(f"model {model.id!r}: {error}") from None


def require_loadable(settings: Settings) -> None:
    """No model is known to be unable to load; LauncherError says which is, and why."""
    for model in settings.models:
        if isinstance(model, VLLMModel) and (failure := preflight.check(model)):
            raise LauncherError(f"the model {model.id} cannot be loaded: {failure.sentence}")


def require_compiler() -> None:
    """What Triton compiles vLLM's GPU kernels with is there: a C compiler, and Python's headers."""
    named = os.environ.get("CC")
    missing: list[str] = []
    if not any(map(shutil.which, (named,) if named else COMPILERS)):
        missing.append("gcc")
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        missing.append(f"python{sys.version_info.major}.{sys.version_info.minor}-dev")
    if missing:
        raise LauncherError(f"vLLM compiles its GPU kernels when it starts: apt install {' '.join(missing)}")


def require_libnuma() -> None:
    """The library that vLLM for CPUs loads is there; LauncherError names its package."""
    try:
        ctypes.CDLL("libnuma.so.1")
    except OSError:
        raise LauncherError("vLLM needs libnuma.so.1 on a CPU: apt install libnuma1") from None


def require_open_files() -> None:
    """HAProxy may open as many files as its connections take; without them it does not start. LauncherError says so."""
    connections = int(os.environ.get("RAY_SERVE_HAPROXY_MAXCONN") or HAPROXY_CONNECTIONS)
    needed, (_, limit) = 2 * connections + OTHER_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit != resource.RLIM_INFINITY and limit < needed:
        raise LauncherError(
            f"HAProxy needs {needed:,} open files for {connections:,} connections, and {limit:,} are allowed: raise "
            "the hard limit (`LimitNOFILE=65536` for systemd, `--ulimit nofile=65536` for Docker), or set "
            f"RAY_SERVE_HAPROXY_MAXCONN={max(1, (limit - OTHER_FILES) // 2)}"
        )


def available_gib() -> float:
    """Return the memory that this process may still use: the machine's, or less in a container."""
    available = psutil.virtual_memory().available
    limit = _number(Path("/sys/fs/cgroup/memory.max"))
    used = _number(Path("/sys/fs/cgroup/memory.current"))
    if limit is not None and used is not None:
        # The page cache counts as used, but the kernel gives it back.
        available = min(available, limit - used + _inactive_file())
    return available / GIB


def memory_limit_bytes() -> int | None:
    """Return what this process's control group may use, None without a limit."""
    return _number(Path("/sys/fs/cgroup/memory.max"))


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # no such control group, or "max"
        return None


def _inactive_file() -> int:
    try:
        lines = Path("/sys/fs/cgroup/memory.stat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("inactive_file ")), 0)

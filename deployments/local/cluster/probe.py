"""What a node tells of itself, and whether it reaches the others. Runs on the node, in a process that Ray started."""

import asyncio
import hashlib
import os
import platform
import re
import socket
import stat
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import quote

import psutil
from redis.exceptions import AuthenticationError, ResponseError

from deployments.infra.haproxy import MARK
from deployments.infra.ray import variables
from deployments.infra.redis.client import connect as redis_client
from deployments.local.cluster.report import HAProxy, NodeReport
from deployments.local.servers.external import require_postgres, require_redis
from deployments.local.state import LauncherError

CONNECT_S = 3.0
STORE_S = 5.0
BIND = re.compile(rb"^frontend http_frontend$.*?^\s*bind (\S+)", re.MULTILINE | re.DOTALL)


def report(address: str, environment: Mapping[str, str] = os.environ) -> NodeReport:
    """Describe this node; takes some seconds where a store does not answer, and raises nothing."""
    redis_url = environment.get("REDIS_URL", "")
    return NodeReport(
        name=platform.node(),
        address=address,
        versions=_versions(),
        settings={one.name: environment[one.name] for one in variables.VARIABLES if one.name in environment},
        stores={
            "Postgres": _store(require_postgres, environment.get("DATABASE_URL", ""), "DATABASE_URL"),
            "Redis": _store(require_redis, redis_url, "REDIS_URL"),
        },
        token=_token(environment),
        redis_has_password=not redis_url or "@" in redis_url or redis_url.startswith("unix:"),
        head_store=_head_store(environment),
        haproxy=_haproxy(),
    )


def unreached(peers: Mapping[str, tuple[str, int]]) -> dict[str, str]:
    """Connect to each of these ports and return what failed, by name."""
    return {name: reason for name, (host, port) in peers.items() if (reason := _refusal(host, port))}


def is_open(host: str, port: int) -> bool:
    """Whether anybody listens there for this node."""
    return not _refusal(host, port)


def listen() -> socket.socket:
    """Listen on a port that the kernel chooses, as replicas do, on every interface."""
    return socket.create_server(("", 0))


def _refusal(host: str, port: int) -> str:
    try:
        socket.create_connection((host, port), timeout=CONNECT_S).close()
    except OSError as error:
        return str(error) or type(error).__name__
    return ""


def _versions() -> dict[str, str]:
    try:
        product = version("chatllm")
    except PackageNotFoundError:
        product = "not installed"
    return {"Python": platform.python_version(), "Ray": version("ray"), "ChatLLM": product, "code": _code()}


def _code() -> str:
    """Return a digest of the service's code, which all nodes must have alike."""
    digest, folder = hashlib.sha256(), variables.REPOSITORY / "deployments"
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".py", ".sql", ".cfg", ".lua", ".yaml"):
            digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def _store(require: Callable[[str], None], url: str, name: str) -> str:
    if not url:
        return f"{name} is not set"
    try:
        require(url)
    except LauncherError as error:
        return str(error)
    return ""


def _token(environment: Mapping[str, str]) -> str:
    if environment.get("RAY_AUTH_TOKEN"):
        return ""
    path = Path(environment.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray/auth_token")
    try:
        mode = path.stat().st_mode
    except OSError:
        return f"{path} cannot be read"
    return f"{path} can be read by other users" if mode & (stat.S_IRGRP | stat.S_IROTH) else ""


def _head_store(environment: Mapping[str, str]) -> str:
    address = environment.get(variables.HEAD_STORE, "")
    if not address:
        return ""
    password = environment.get("RAY_REDIS_PASSWORD") or environment.get("REDIS_PASSWORD") or ""
    try:
        return asyncio.run(_eviction(with_password(address, password)))
    except AuthenticationError as error:
        return _unreached(error) if password else "locked"
    except ResponseError as error:
        return _unreached(error) if password or "HELLO" not in str(error) else "locked"
    except Exception as error:  # noqa: BLE001 - whatever is wrong there is what is asked
        return _unreached(error)


def _unreached(error: Exception) -> str:
    return f"{variables.HEAD_STORE} cannot be reached: {str(error) or type(error).__name__}"


def with_password(address: str, password: str) -> str:
    """Return the address of a Redis as a URL, with the password unless it brings one of its own."""
    scheme, _, place = (address if "://" in address else f"redis://{address}").partition("://")
    return f"{scheme}://:{quote(password, safe='')}@{place}" if password and "@" not in place else f"{scheme}://{place}"


async def _eviction(url: str) -> str:
    client = redis_client(url, STORE_S)
    try:
        memory = await client.info("memory")
    finally:
        await client.aclose()
    return "kept" if memory.get("maxmemory_policy") == "noeviction" or not memory.get("maxmemory") else "evicts"


def _haproxy() -> HAProxy | None:
    """Return the HAProxy of this node, None where none runs or it belongs to somebody else."""
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
            if process.name() == "haproxy" and "-f" in command:
                written = Path(command[command.index("-f") + 1]).read_bytes()
                bind = BIND.search(written)
                if bind:
                    return HAProxy(MARK in written, bind[1].decode())
        except (psutil.Error, OSError):
            continue
    return None

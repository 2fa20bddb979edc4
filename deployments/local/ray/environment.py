"""The environment in which Ray runs on this machine.

Every port that Ray Serve would take from a fixed number is chosen here, so that
several installations, and any other Ray cluster, run side by side.
"""

import os
import shutil
from pathlib import Path

from deployments.infra.ray import variables
from deployments.local.processes import leftovers, ports
from deployments.local.settings import REPOSITORY

# statistics, metrics, fallback proxy over HTTP and gRPC, then the replicas of the ingress
FIXED_PORTS = 4
INGRESS_PORTS = 60

DEFAULT_PROMETHEUS_PORT = 9090

HAPROXY, TEMPORARY, ENGINES = "h", "t", "v"
"""Folders within the runtime folder, named briefly because the paths of sockets are bounded."""


def empty_runtime(runtime: Path) -> None:
    """Remove what an earlier run left in the runtime folder, such as sockets of killed engines, and make its folders.

    Call it only while nothing runs there.
    """
    for leftover in runtime.iterdir():
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)
    for name in (HAPROXY, TEMPORARY, ENGINES):
        (runtime / name).mkdir(exist_ok=True)


def ray_environment(
    state: Path, runtime: Path, stores: dict[str, str], prometheus_port: int = DEFAULT_PROMETHEUS_PORT
) -> dict[str, str]:
    """Return the whole environment for the Ray part; `stores` holds DATABASE_URL and REDIS_URL.

    Ray's dashboard asks the Prometheus at `prometheus_port`, unless RAY_PROMETHEUS_HOST names another one.
    """
    inherited = {
        name: value
        for name, value in os.environ.items()
        # An address would lead to another cluster; byte code is what makes the second start fast.
        if name not in ("RAY_ADDRESS", "PYTHONDONTWRITEBYTECODE")
    }
    haproxy = runtime / HAPROXY
    return {
        **variables.for_one_machine(),
        "RAY_PROMETHEUS_HOST": f"http://127.0.0.1:{prometheus_port}",
        **inherited,
        **stores,
        **leftovers.marks(state, "ray"),
        **_serve_ports(ports.free_block(FIXED_PORTS + INGRESS_PORTS)),
        # On Linux too this makes Ray take 127.0.0.1 as the node's address.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        # What engines and libraries leave goes with this folder; in /tmp it would outlive a replica that is killed.
        "VLLM_RPC_BASE_PATH": str(runtime / ENGINES),
        "TMPDIR": str(runtime / TEMPORARY),
        **variables.fixed(),
        "RAY_AUTH_TOKEN_PATH": str(state / "ray.token"),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(haproxy / "cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(haproxy / "s"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(haproxy / "m"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(haproxy),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(haproxy / "state"),
        # A process title must not be written over the mark in the environment.
        "SPT_NOENV": "1",
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *filter(None, [inherited.get("PYTHONPATH")])]),
    }


def _serve_ports(first: int) -> dict[str, str]:
    return {
        "RAY_SERVE_HAPROXY_STATS_PORT": str(first),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(first + 1),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(first + 2),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(first + 3),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(first + FIXED_PORTS),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(first + FIXED_PORTS + INGRESS_PORTS - 1),
    }

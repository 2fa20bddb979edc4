"""The environment in which Ray runs on this machine.

Every port that Ray Serve would take from a fixed number is chosen here, so that
several installations, and any other Ray cluster, run side by side.
"""

import os
from pathlib import Path

from deployments.infra.haproxy import WRAPPER
from deployments.local.processes import leftovers, ports
from deployments.local.settings import REPOSITORY

# statistics, metrics, fallback proxy over HTTP and gRPC, then the replicas of the ingress
FIXED_PORTS = 4
INGRESS_PORTS = 60

# Chosen once for a machine that also does other work; each may be overridden from outside.
TUNING = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_HAPROXY_NBTHREAD": "2",
    # For each request HAProxy would write a line that a Python process reads: 75 µs. The service counts by itself.
    "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # On a busy machine HAProxy's manager imports for longer than the 5 s after which Serve replaces it.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
    # Ten turns a second, Ray's choice, cost 5 % of a core for ever; at four a start takes no longer.
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.25",
    # Each replica would export its counters ten times a second, 0.2 % of a core for ever; nobody scrapes so often.
    "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "1000",
    # Ray starts its workers, and so vLLM, at niceness 15.
    "RAY_worker_niceness": "0",
    # Ray would kill the model when other programs fill the memory; the kernel judges better.
    "RAY_memory_monitor_refresh_ms": "0",
    # A process started with `uv run` would otherwise make Ray package the whole repository.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TOKENIZERS_PARALLELISM": "false",
    # The dashboard shows panels of a Grafana that it is told of: RAY_GRAFANA_HOST, and RAY_GRAFANA_IFRAME_HOST for
    # the address under which a browser reaches it. Without one it would ask localhost:3000 each time it is opened.
    "RAY_GRAFANA_HOST": "DISABLED",
}
DEFAULT_PROMETHEUS_PORT = 9090


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
    haproxy = runtime / "h"
    return {
        **TUNING,
        "RAY_PROMETHEUS_HOST": f"http://127.0.0.1:{prometheus_port}",
        **inherited,
        **stores,
        **leftovers.marks(state, "ray"),
        **_serve_ports(ports.free_block(FIXED_PORTS + INGRESS_PORTS)),
        # On Linux too this makes Ray take 127.0.0.1 as the node's address.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        # What engines and libraries leave goes with this folder; in /tmp it would outlive a replica that is killed.
        "VLLM_RPC_BASE_PATH": str(runtime),
        "TMPDIR": str(runtime / "t"),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(state / "ray.token"),
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(WRAPPER),
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

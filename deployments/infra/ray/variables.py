"""Settings of Ray, Serve and HAProxy that must be in the environment before Ray starts: the one place of their values.

The launcher sets them for one machine, `chatllm cluster env` prints them for the nodes of a cluster, `chatllm cluster
check` compares running nodes with them, and tests compare `configs/kuberay.yaml` and the documentation.
"""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deployments.infra.haproxy import WRAPPER

Scope = Literal["everywhere", "one machine", "cluster"]
REPOSITORY = Path(__file__).parents[3]


@dataclass(frozen=True, slots=True)
class Variable:
    """`why` completes the sentence "It is set because …" for whoever reads the file with these variables."""

    name: str
    value: str
    why: str
    scope: Scope = "everywhere"
    is_required: bool = False
    """Whether `chatllm cluster check` reports a node without this value as failed and not as a warning."""


VARIABLES = (
    Variable("RAY_SERVE_ENABLE_HA_PROXY", "1", "Ray's Python proxy serves a tenth as many requests", is_required=True),
    Variable("RAY_SERVE_THROUGHPUT_OPTIMIZED", "1", "calls between replicas cost less CPU", is_required=True),
    Variable(
        "RAY_SERVE_HAPROXY_BINARY_PATH",
        str(WRAPPER),
        "a client that leaves stops the model, HAProxy's errors are JSON, and its statistics stay on the node",
        is_required=True,
    ),
    Variable("RAY_worker_niceness", "0", "Ray starts its workers, and so vLLM, at niceness 15", is_required=True),
    Variable(
        "RAY_AUTH_MODE", "token", "without it anyone who reaches Ray's ports can run code on the node", is_required=True
    ),
    Variable("RAY_USAGE_STATS_ENABLED", "0", "nothing is reported to anyone"),
    Variable(
        "RAY_SERVE_HAPROXY_METRICS_ENABLED", "0", "each request would cost a log line and 75 µs; metrics are ours"
    ),
    Variable(
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S",
        "60",
        "on a busy machine HAProxy's manager imports for longer than the 5 s after which Serve replaces it",
    ),
    Variable(
        "RAY_SERVE_HAPROXY_HEALTH_CHECK_INTER",
        "1s",
        "HAProxy sends requests to a node that was cut off until two checks have failed, 5 s apart by Ray's choice",
    ),
    Variable(
        "RAY_SERVE_HAPROXY_OBSERVE_ERROR_LIMIT",
        "1",
        "of a replica's three refused connections, Ray's choice, one request has all: to HAProxy it has the fewest",
    ),
    Variable(
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S",
        "960",
        "when the ingress's replicas change a new HAProxy starts, and the old one would cut its streams after 120 s",
    ),
    Variable(
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S",
        "5",
        "HAProxy knows within a second that a replica stops; Ray keeps each for 30 s, with nothing to do",
    ),
    Variable("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0", "after `uv run` Ray would package the whole repository"),
    Variable("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0", "a replica without a GPU keeps its CUDA_VISIBLE_DEVICES"),
    Variable("TOKENIZERS_PARALLELISM", "false", "tokenizers warn after a fork"),
    Variable(
        "RAY_GRAFANA_HOST",
        "DISABLED",
        "Ray's dashboard asks localhost:3000 each time; or name a Grafana, and RAY_GRAFANA_IFRAME_HOST",
    ),
    Variable(
        "RAY_gcs_rpc_server_reconnect_timeout_s",
        "600",
        "after a minute without the head, Ray's choice, nodes end themselves and all replicas on them",
        "cluster",
    ),
    Variable(
        "RAY_SERVE_HAPROXY_TIMEOUT_CONNECT_S",
        "1",
        "a request waits for 5 s, Ray's choice, for a node that was cut off, before another one gets it",
        "cluster",
    ),
    Variable(
        "CHATLLM_HAPROXY_REUSE",
        "never",
        "a request on an old connection to a node that was cut off waits until the node is back; a new one fails soon",
        "cluster",
    ),
    Variable("RAY_SERVE_HAPROXY_NBTHREAD", "2", "HAProxy shares the machine with the model", "one machine"),
    Variable(
        "RAY_SERVE_CONTROL_LOOP_INTERVAL_S",
        "0.25",
        "ten turns a second, Ray's choice, cost 5 % of a core for ever",
        "one machine",
    ),
    Variable(
        "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS",
        "1000",
        "each replica would export its counters ten times a second, 0.2 % of a core for ever",
        "one machine",
    ),
    Variable(
        "RAY_memory_monitor_refresh_ms",
        "0",
        "Ray would kill the model when other programs fill the memory; the kernel judges better",
        "one machine",
    ),
)
STORES = ("DATABASE_URL", "REDIS_URL")
"""What else every node needs; `chatllm cluster env` takes them from its own environment."""
HEAD_STORE = "RAY_REDIS_ADDRESS"
"""Where the head keeps what it must find again when it is started anew; a Redis that evicts nothing."""


def for_one_machine() -> dict[str, str]:
    """Return what the launcher sets unless its own environment says otherwise; paths and ports are its own."""
    return _values("one machine")


def fixed() -> dict[str, str]:
    """Return what holds on one machine whatever the launcher's own environment says."""
    values = _values("one machine")
    return {name: values[name] for name in ("RAY_AUTH_MODE", "RAY_SERVE_HAPROXY_BINARY_PATH")}


def for_cluster(repository: Path | None = None) -> dict[str, str]:
    """Return what every node of a cluster has, with the repository at this place on the nodes (default: here)."""
    found = _values("cluster")
    if repository is not None:
        name = "RAY_SERVE_HAPROXY_BINARY_PATH"
        found[name] = str(repository / WRAPPER.relative_to(REPOSITORY))
    return found


def env_file(environment: Mapping[str, str], repository: Path | None = None) -> Iterator[str]:
    """Yield the lines of a file that `sh` sources and systemd reads: each value after its reason."""
    values, reasons = for_cluster(repository), {one.name: one.why for one in VARIABLES}
    for name, value in values.items():
        yield f"# {reasons[name]}"
        yield f"{name}={shlex.quote(value)}"
    for name in STORES:
        yield (
            f"{name}={shlex.quote(environment[name])}" if environment.get(name) else f"# {name}=  # every node needs it"
        )
    yield "# without it the cluster ends with its head; host:port of a Redis or Valkey that evicts nothing"
    yield f"{HEAD_STORE}={shlex.quote(environment[HEAD_STORE])}" if environment.get(HEAD_STORE) else f"# {HEAD_STORE}="


def plain_env_file(environment: Mapping[str, str], repository: Path | None = None) -> Iterator[str]:
    """Yield the lines of a file for `docker run --env-file` and its like, which take quotes for part of the value."""
    stores = {name: environment[name] for name in (*STORES, HEAD_STORE) if environment.get(name)}
    yield from (f"{name}={value}" for name, value in {**for_cluster(repository), **stores}.items())


def _values(scope: Scope) -> dict[str, str]:
    return {one.name: one.value for one in VARIABLES if one.scope in ("everywhere", scope)}

"""HAProxy as it runs in front of replicas: Ray's own configuration, mended, without Ray."""

import os
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx
from ray.serve._private.haproxy import BackendConfig, HAProxyApi, HAProxyConfig, ServerConfig
from ray.serve.config import HTTPOptions

from deployments.infra.haproxy import WRAPPER
from tests.launched import free_ports


@contextmanager
def haproxied(
    folder: Path, *replicas: int, is_deployed: bool = True, serves_proxy: int | None = None
) -> Generator[str]:
    """Run HAProxy in front of replicas at ports of this machine; yields its address.

    `serves_proxy` is the port of what requests go to where no replica is healthy.
    """
    port, stats, metrics = free_ports(3)
    folder.mkdir(exist_ok=True)
    cfg = HAProxyConfig(
        socket_path=str(folder / "s"),
        server_state_base=str(folder),
        server_state_file=str(folder / "state"),
        stats_port=stats,
        metrics_port=metrics,
        metrics_enabled=False,
        http_options=HTTPOptions(host="127.0.0.1", port=port),
        is_head=True,
        has_received_routes=True,
        has_received_servers=True,
    )
    servers = [ServerConfig(f"r{at}", "127.0.0.1", replica) for at, replica in enumerate(replicas)]
    # Serve answers at its own path; the bare application has another.
    backend = BackendConfig(
        "http-chatllm",
        "/",
        http_health_check_path="/health",
        app_name="chatllm",
        servers=servers,
        fallback_server=serves_proxy and ServerConfig("SERVE_PROXY_ACTOR-fallback-0a", "127.0.0.1", serves_proxy),
    )
    backends = {"http-chatllm": backend}
    api = HAProxyApi(cfg, backends if is_deployed else {}, str(folder / "cfg"))
    api._generate_config_file_internal()
    environment = os.environ | {
        "RAY_SERVE_HAPROXY_STATS_PORT": str(stats),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
    }
    process = subprocess.Popen([WRAPPER, "-db", "-f", str(folder / "cfg")], env=environment, stderr=subprocess.PIPE)
    url = f"http://127.0.0.1:{port}"
    try:
        _await_healthy(url, process)
        yield url
    finally:
        process.terminate()
        process.communicate(timeout=10)


def _await_healthy(url: str, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(200):
        if process.poll() is not None:
            raise AssertionError(process.communicate()[1].decode())
        try:
            httpx.get(f"{url}/-/healthz", timeout=5)
            return
        except httpx.HTTPError:
            time.sleep(0.05)
    raise AssertionError("HAProxy does not answer")

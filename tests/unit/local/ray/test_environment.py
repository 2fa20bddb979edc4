"""The environment of Ray: nothing collides, nothing leads elsewhere, nothing is slow by accident."""

import socket
import subprocess
from pathlib import Path

import pytest

from deployments.infra.haproxy import WRAPPER, warn_unless_mended
from deployments.local.processes import leftovers
from deployments.local.ray.environment import FIXED_PORTS, INGRESS_PORTS, empty_runtime, ray_environment

STORES = {"DATABASE_URL": "postgresql://db", "REDIS_URL": "redis://cache"}


def environment(folder: Path) -> dict[str, str]:
    return ray_environment(folder, folder / "run", STORES)


def test_it_carries_the_mark_the_stores_and_the_two_settings_of_speed(tmp_path: Path) -> None:
    found = environment(tmp_path)
    assert leftovers.marks(tmp_path, "ray").items() <= found.items()
    assert STORES.items() <= found.items()
    assert found["RAY_SERVE_ENABLE_HA_PROXY"] == found["RAY_SERVE_THROUGHPUT_OPTIMIZED"] == "1"


def test_another_cluster_s_address_is_not_inherited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    assert not {"RAY_ADDRESS", "PYTHONDONTWRITEBYTECODE"} & environment(tmp_path).keys()


def test_tuning_can_be_overridden_but_ports_can_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_SERVE_HAPROXY_NBTHREAD", "8")
    monkeypatch.setenv("RAY_SERVE_HAPROXY_STATS_PORT", "8404")
    found = environment(tmp_path)
    assert found["RAY_SERVE_HAPROXY_NBTHREAD"] == "8"
    assert found["RAY_SERVE_HAPROXY_STATS_PORT"] != "8404"


def test_ray_s_dashboard_knows_prometheus_and_asks_for_no_grafana(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = ray_environment(tmp_path, tmp_path / "run", STORES, 9191)
    assert (found["RAY_PROMETHEUS_HOST"], found["RAY_GRAFANA_HOST"]) == ("http://127.0.0.1:9191", "DISABLED")
    monkeypatch.setenv("RAY_PROMETHEUS_HOST", "http://prometheus:9090")
    monkeypatch.setenv("RAY_GRAFANA_HOST", "http://grafana:3000")
    found = environment(tmp_path)
    assert (found["RAY_PROMETHEUS_HOST"], found["RAY_GRAFANA_HOST"]) == (
        "http://prometheus:9090",
        "http://grafana:3000",
    )


def test_sockets_of_killed_engines_are_gone_at_the_next_start(tmp_path: Path) -> None:
    runtime = tmp_path / "run"
    runtime.mkdir()
    engines = Path(environment(tmp_path)["VLLM_RPC_BASE_PATH"])
    empty_runtime(runtime)
    for left in (engines, runtime):
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(left / "bf1f503a"))
    empty_runtime(runtime)
    assert engines.is_dir() and not list(engines.iterdir()) and not (runtime / "bf1f503a").exists()


def test_all_ports_lie_in_one_block(tmp_path: Path) -> None:
    found = {int(value) for name, value in environment(tmp_path).items() if name.endswith("_PORT")}
    assert len(found) == FIXED_PORTS + 2
    assert max(found) - min(found) == FIXED_PORTS + INGRESS_PORTS - 1


def test_the_inner_ports_of_haproxy_are_taken_off_the_network_and_headers_have_a_time(tmp_path: Path) -> None:
    """And the public port stays as it is configured."""
    config = tmp_path / "cfg"
    config.write_text(
        "global\n    maxconn 9\ndefaults\n    mode http\n"
        "frontend x\n    bind :101\nfrontend y\n    bind *:8000\nlisten z\n  bind *:100\n    bind :1010\n"
    )
    wrapped = {
        "PATH": "/usr/bin:/bin",
        "CHATLLM_HAPROXY": "/bin/echo",
        "RAY_SERVE_HAPROXY_STATS_PORT": "100",
        "RAY_SERVE_HAPROXY_METRICS_PORT": "101",
    }
    done = subprocess.run(
        [WRAPPER, "-db", "-f", config, "-x", "socket"], env=wrapped, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"-db -f {config} -x socket\n"
    assert [line.split()[1] for line in config.read_text().splitlines() if "bind" in line] == [
        "127.0.0.1:101",
        "*:8000",
        "127.0.0.1:100",
        ":1010",
    ]
    assert "defaults\n    timeout http-request 10s\n    timeout http-keep-alive 90s\n" in config.read_text()
    once = config.read_text()
    subprocess.run([WRAPPER, "-db", "-f", config], env=wrapped, check=True)
    assert config.read_text() == once


@pytest.mark.parametrize(("target", "kept"), [("", False), ("10.0.0.7:514", True)])
def test_requests_are_logged_to_a_port_only_where_one_is_named(tmp_path: Path, target: str, kept: bool) -> None:
    config = tmp_path / "cfg"
    config.write_text(f"global\n    log {target or '127.0.0.1:514'} local0 info\n    maxconn 4096\n")
    wrapped = {"PATH": "/usr/bin:/bin", "CHATLLM_HAPROXY": "/bin/true", "RAY_SERVE_HAPROXY_LOG_TARGET": target}

    subprocess.run([WRAPPER, "-db", "-f", config], env=wrapped, check=True)

    assert ("log " in config.read_text()) == kept
    assert "maxconn 4096" in config.read_text()


@pytest.mark.parametrize(
    ("binary", "is_warned"), [(str(WRAPPER), False), ("/bin/sh", True), ("/nowhere", True), ("", True)]
)
def test_the_ingress_warns_of_an_haproxy_as_ray_comes_with_it(
    binary: str, is_warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    assert warn_unless_mended({})
    environment = {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_HAPROXY_BINARY_PATH": binary}
    assert warn_unless_mended(environment) is not is_warned
    assert bool(caplog.records) is is_warned

"""The settings that must stand before Ray starts have one place, and it is the one that is read."""

import re
import subprocess
from pathlib import Path

import pytest
import ray.serve._private.constants as serve_constants

from deployments.infra.haproxy import WRAPPER
from deployments.infra.ray import variables

STORES = {"DATABASE_URL": "postgresql://u:p'w@db/chatllm", "REDIS_URL": "redis://cache:6379/0"}


def test_a_shell_reads_the_env_file_as_it_is_meant() -> None:
    text = "\n".join(variables.env_file(STORES, Path("/opt/a b")))
    done = subprocess.run(
        ["env", "-i", "sh", "-ec", f"set -a\n{text}\nexec env -0"], capture_output=True, text=True, check=True
    )
    found = dict(line.split("=", 1) for line in done.stdout.split("\0") if line)
    assert STORES.items() <= found.items()
    assert found["RAY_SERVE_HAPROXY_BINARY_PATH"] == "/opt/a b/deployments/infra/haproxy/haproxy"
    wanted = variables.for_cluster() | {"RAY_SERVE_HAPROXY_BINARY_PATH": found["RAY_SERVE_HAPROXY_BINARY_PATH"]}
    assert wanted.items() <= found.items()
    assert variables.HEAD_STORE not in found


def test_docker_reads_the_plain_file_as_it_is_meant() -> None:
    """Each line to its end is a value, whatever stands in it."""
    found = dict(line.split("=", 1) for line in variables.plain_env_file(STORES, Path("/opt/a b")))
    assert found == variables.for_cluster(Path("/opt/a b")) | STORES


def test_what_is_for_one_machine_alone_is_not_for_clusters_and_the_other_way_round() -> None:
    here, cluster = variables.for_one_machine(), variables.for_cluster()
    assert "RAY_memory_monitor_refresh_ms" in here.keys() - cluster.keys()
    assert "RAY_gcs_rpc_server_reconnect_timeout_s" in cluster.keys() - here.keys()
    assert here["RAY_SERVE_HAPROXY_BINARY_PATH"] == cluster["RAY_SERVE_HAPROXY_BINARY_PATH"] == str(WRAPPER)
    assert variables.fixed().items() <= here.items()


@pytest.mark.parametrize("name", [one.name for one in variables.VARIABLES if one.name.startswith("RAY_SERVE_")])
def test_serve_reads_the_variable(name: str) -> None:
    assert name in Path(serve_constants.__file__).read_text()


def test_the_file_for_kubernetes_has_them_too() -> None:
    """All but the token's, which its operator sets."""
    text = (variables.REPOSITORY / "configs/kuberay.yaml").read_text()
    written = dict(re.findall(r"- name: ((?:RAY|TOKENIZERS|CHATLLM)_\w+)\n\s+value: \"?([^\"\n]+)\"?\n", text))
    wanted = variables.for_cluster(Path("/opt/chatllm"))
    del wanted["RAY_AUTH_MODE"]
    assert wanted.items() <= written.items()

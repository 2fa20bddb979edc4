"""`chatllm cluster check` on a cluster that serves, and what its env file does there."""

import json

import pytest

from tests.cluster.ray_cluster import BIN, RayCluster

pytestmark = [pytest.mark.alone, pytest.mark.slow, pytest.mark.timeout(1200)]


def test_a_cluster_that_serves_is_found_to_be_fit(cluster: RayCluster) -> None:
    """Every node is asked, and each one connects to each other; the stores of the tests have no password."""
    told = json.loads(cluster.head.run(str(BIN / "chatllm"), "cluster", "check", "--json"))
    findings = {(one["verdict"], one["subject"]): one["text"] for one in told["findings"]}
    assert told["fit"] and {verdict for verdict, _ in findings} == {"ok", "warn"}, findings
    assert [subject for verdict, subject in findings if verdict == "warn"] == ["Redis"]
    assert {node["name"] for node in told["nodes"]} == {node.name for node in cluster.nodes}
    assert findings["ok", "nodes"] == f"{len(cluster.nodes)} answer"
    assert findings["ok", "reachability"] == "every node reaches every other one"
    assert findings["ok", "HAProxy"].startswith("runs with corrected settings on ")  # Serve starts it beside replicas

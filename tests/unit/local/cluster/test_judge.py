"""What is wrong with a cluster is said with its node and its remedy."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deployments.infra.haproxy import WRAPPER
from deployments.infra.ray import variables
from deployments.local.cli import app
from deployments.local.cluster import probe
from deployments.local.cluster.judge import judge
from deployments.local.cluster.report import Finding, HAProxy, NodeReport, Survey

VERSIONS = {"Python": "3.11.7", "Ray": "2.60.0", "ChatLLM": "0.1.0", "code": "aaaa"}


def report(name: str, **different: object) -> NodeReport:
    return replace(
        NodeReport(
            name, "10.0.0.1", VERSIONS, variables.for_cluster(), {"Postgres": "", "Redis": ""}, head_store="kept"
        ),
        **different,  # pyright: ignore[reportArgumentType]
    )


def survey(*reports: NodeReport, **more: object) -> Survey:
    nodes = {one.name: one for one in (report("head"), *reports)}
    return Survey(nodes, "head", **more)  # pyright: ignore[reportArgumentType]


def wrong(found: Survey) -> list[Finding]:
    return [finding for finding in judge(found) if finding.verdict != "ok"]


def test_a_cluster_without_fault_has_a_line_for_each_subject() -> None:
    good = survey(report("w1", haproxy=HAProxy(True, "*:8000")), clocks={"w1": (0.01, 0.001)}, exposed={"w1": ()})
    assert wrong(good) == []
    subjects = [finding.subject for finding in judge(good)]
    assert {"nodes", "reachability", "versions", "settings", "token", "Postgres", "Redis", "head", "HAProxy"} < {
        *subjects
    }
    assert {"ports", "clock"} < {*subjects} and not any(finding.remedy for finding in judge(good))


SETTINGS = variables.for_cluster()
CASES: list[tuple[str, Survey, str, str, str]] = [
    ("a node that is silent", survey(silent={"w2": "no answer within 60 s"}), "fail", "w2", "no answer within 60 s"),
    ("a lost node", survey(lost=("10.0.0.9",)), "warn", "10.0.0.9", "Ray has given it up"),
    ("a cable", survey(report("w1"), unreached={("head", "w1"): "timed out"}), "fail", "head", "cannot connect to w1"),
    ("another Ray", survey(report("w1", versions=VERSIONS | {"Ray": "2.9"})), "fail", "w1", "Ray 2.9, other nodes"),
    ("other code", survey(report("w1", versions=VERSIONS | {"code": "b"})), "fail", "w1", "code b, other nodes"),
    ("no token", survey(report("w1", settings=SETTINGS | {"RAY_AUTH_MODE": ""})), "fail", "w1", "run code on the node"),
    ("niceness", survey(report("w1", settings=SETTINGS | {"RAY_worker_niceness": "15"})), "fail", "w1", "is '15' and"),
    (
        "a minor setting",
        survey(report("w1", settings=SETTINGS | {"TOKENIZERS_PARALLELISM": ""})),
        "warn",
        "w1",
        "TOKEN",
    ),
    ("a token to read", survey(report("w1", token="it can be read")), "fail", "w1", "can be read"),
    ("Postgres", survey(report("w1", stores={"Postgres": "cannot be reached", "Redis": ""})), "fail", "w1", "reached"),
    ("an open Redis", survey(report("w1", redis_has_password=False)), "warn", "", "asks for no password"),
    ("HAProxy as it comes", survey(report("w1", haproxy=HAProxy(False, "*:80"))), "fail", "w1", "errors are HTML"),
    ("a door", survey(exposed={"w1": ("HAProxy's statistics",)}), "fail", "w1", "open to strangers: HAProxy's"),
    ("a slow clock", survey(clocks={"w1": (-1.0, 0.1)}), "warn", "w1", "1.0 s behind"),
    ("a wrong clock", survey(clocks={"w1": (60.0, 0.1)}), "fail", "w1", "60.0 s ahead"),
]


@pytest.mark.parametrize(("found", "verdict", "node", "text"), [case[1:] for case in CASES], ids=[c[0] for c in CASES])
def test_each_fault_is_found_with_its_node_and_a_remedy(found: Survey, verdict: str, node: str, text: str) -> None:
    (finding,) = wrong(found)
    assert (finding.verdict, finding.node) == (verdict, node)
    assert text in finding.text and finding.remedy


@pytest.mark.parametrize(
    ("state", "verdict"), [("", "warn"), ("locked", "warn"), ("evicts", "fail"), ("cannot be reached: x", "fail")]
)
def test_the_head_s_own_store_is_judged(state: str, verdict: str) -> None:
    (finding,) = wrong(Survey({"head": report("head", head_store=state)}, "head"))
    assert (finding.verdict, finding.subject) == (verdict, "head")


def test_what_a_clock_may_be_wrong_by_is_no_difference() -> None:
    assert wrong(survey(clocks={"w1": (3.0, 2.9)})) == []


def test_a_repository_elsewhere_is_no_fault() -> None:
    elsewhere = variables.for_cluster(Path("/srv/chatllm"))
    assert wrong(survey(report("w1", settings=elsewhere))) == []


@pytest.mark.parametrize("is_mended", [True, False])
def test_the_port_of_the_api_is_read_from_haproxy_s_configuration(tmp_path: Path, is_mended: bool) -> None:
    config = tmp_path / "cfg"
    config.write_text("global\nfrontend prometheus\n    bind :9101\nfrontend http_frontend\n    bind *:8000\n")
    if is_mended:
        wrapped = {"PATH": "/usr/bin:/bin", "CHATLLM_HAPROXY": "/bin/true"}
        subprocess.run([WRAPPER, "-db", "-f", config], env=wrapped, check=True)
    found = probe.BIND.search(config.read_bytes())
    assert found and found[1] == b"*:8000"


def test_a_report_tells_no_secret(tmp_path: Path) -> None:
    """Stores that do not answer, a token that others can read."""
    token = tmp_path / "token"
    token.write_text("s3cret")
    token.chmod(0o644)
    environment = {
        "DATABASE_URL": "postgresql://chatllm:s3cret@127.0.0.1:1/chatllm",
        "REDIS_URL": "redis://:s3cret@127.0.0.1:1/0",
        "RAY_REDIS_ADDRESS": "127.0.0.1:1",
        "RAY_REDIS_PASSWORD": "s3cret",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_worker_niceness": "0",
    }
    found = probe.report("10.0.0.1", environment)
    assert "s3cret" not in repr(found)
    assert "DATABASE_URL" in found.stores["Postgres"] and "REDIS_URL" in found.stores["Redis"]
    assert found.head_store.startswith("RAY_REDIS_ADDRESS cannot be reached")
    assert found.token.endswith("can be read by other users") and found.redis_has_password
    assert found.settings == {"RAY_worker_niceness": "0"}


def test_this_machine_alone_is_checked_before_ray_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*variables.for_cluster(), "DATABASE_URL", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    done = CliRunner().invoke(app, ["cluster", "check", "--here", "--json"])
    told = json.loads(done.output)
    assert done.exit_code == 1 and told["fit"] is False and len(told["nodes"]) == 1
    failed = {finding["subject"] for finding in told["findings"] if finding["verdict"] == "fail"}
    assert {"settings", "Postgres", "Redis"} <= failed

"""Containerfile and compose.yaml keep what they promise: what they name exists, nobody is root, no secret is inside."""

import fnmatch
import importlib.util
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.local.install import NEEDED_GIB, Failed, flavour_of_machine
from deployments.local.service_file import read
from deployments.local.settings import LauncherSettings

REPOSITORY = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((REPOSITORY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
IGNORED = (REPOSITORY / ".dockerignore").read_text().splitlines()
SECRET = re.compile(r"secret|password|passwd|token|api_?key|credential", re.IGNORECASE)


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the Containerfile, each with its arguments in one line."""
    lines = [line for line in (REPOSITORY / "Containerfile").read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    found = [line.split(maxsplit=1) for line in joined.splitlines() if line.strip()]
    return [(name, rest) for name, rest in found]


def stages() -> dict[str, list[tuple[str, str]]]:
    """Return the instructions of each target, with those of the target that it is made from before them."""
    found: dict[str, list[tuple[str, str]]] = {}
    name = ""
    for instruction, rest in instructions():
        if instruction == "FROM":
            source, _, name = re.split(" (AS) ", rest)
            found[name] = list(found.get(source, []))
        elif name:
            found[name].append((instruction, rest))
    return found


TARGETS = [name for name in stages() if name != "base"]


def last(target: str, instruction: str) -> str:
    return [rest for name, rest in stages()[target] if name == instruction][-1]


def test_there_is_a_target_for_each_kind_of_machine_and_cpus_are_the_default() -> None:
    assert set(TARGETS) == NEEDED_GIB.keys()
    assert list(stages())[-1] == "cpu"
    for target in TARGETS:
        assert f"CHATLLM_HARDWARE={target} python3 deployments/local/install.py" in last(target, "RUN")


@pytest.mark.parametrize("target", TARGETS)
def test_nobody_runs_as_root(target: str) -> None:
    user, group = last(target, "USER").split(":")
    assert int(user) >= 1000 and int(group) >= 1000
    kuberay = (REPOSITORY / "configs/kuberay.yaml").read_text()
    assert f"runAsUser: {user}" in kuberay and f"runAsGroup: {group}" in kuberay


@pytest.mark.parametrize("target", TARGETS)
def test_what_it_copies_and_runs_is_there(target: str) -> None:
    for instruction, rest in stages()[target]:
        if instruction == "COPY":
            *sources, _ = [part for part in shlex.split(rest) if not part.startswith("--")]
            assert [source for source in sources if not (REPOSITORY / source).exists()] == []
            assert [source for source in sources if is_ignored(source)] == []
    command = yaml.safe_load(last(target, "CMD"))
    scripts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["scripts"]
    assert command[0] in scripts
    probe = yaml.safe_load(last(target, "HEALTHCHECK").partition("CMD ")[2])
    assert probe[:2] == ["python3", "-m"] and importlib.util.find_spec(probe[2]) is not None
    assert probe[3] == f"http://127.0.0.1:{LauncherSettings().port}/health"


@pytest.mark.parametrize("target", TARGETS)
def test_everything_that_the_installation_needs_is_copied(target: str) -> None:
    copied = {part for name, rest in stages()[target] if name == "COPY" for part in rest.split()[1:-1]}
    packages = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert {*packages["packages"], "configs", "pyproject.toml", "README.md", "serve_config.yaml"} <= copied


def is_ignored(path: str) -> bool:
    """Whether a path is kept from the build, as Docker and Buildah read .dockerignore: the last pattern decides."""
    verdict = False
    for pattern in (line for line in IGNORED if line and not line.startswith("#")):
        wanted = pattern.removeprefix("!").removeprefix("**/")
        parts = path.split("/")
        candidates = parts if "**/" in pattern else ["/".join(parts[: end + 1]) for end in range(len(parts))]
        if any(fnmatch.fnmatchcase(candidate, wanted) for candidate in candidates):
            verdict = not pattern.startswith("!")
    return verdict


@pytest.mark.parametrize(
    "path", [".env", ".chatllm/ray.token", ".git/config", "ui/.env", "configs/server.key", "deployments/.chatllm/key"]
)
def test_what_may_hold_a_secret_does_not_get_in(path: str) -> None:
    assert is_ignored(path)
    assert not is_ignored("deployments/app.py")


def test_no_secret_is_in_the_image_or_in_the_file() -> None:
    for instruction, rest in instructions():
        if instruction in ("ENV", "ARG", "LABEL"):
            assert not SECRET.search(rest), rest
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if SECRET.search(name) or "://" in str(value):
                assert re.search(r"\$\{\w+:\?[^}]+\}", value), f"{name} must come from the environment, or stop"
    assert not re.search(r"://[^$\s]*:[^$\s@]+@", (REPOSITORY / "compose.yaml").read_text())


def test_the_launcher_understands_the_image_s_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    values = dict(part.split("=", 1) for part in shlex.split(last("cpu", "ENV")))
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CHATLLM_MODEL", "")
    settings = LauncherSettings.read()
    assert (settings.host, settings.page_host, str(settings.state)) == ("0.0.0.0", "0.0.0.0", "/opt/chatllm/.chatllm")
    assert last("cpu", "VOLUME") == str(settings.state)
    assert {int(port) for port in last("cpu", "EXPOSE").split()} == {settings.port, settings.page_port}
    assert read(settings).document["http_options"] == {"host": "0.0.0.0", "port": settings.port}


def test_the_machine_to_install_for_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for named in NEEDED_GIB:
        monkeypatch.setenv("CHATLLM_HARDWARE", named)
        assert flavour_of_machine() == named
    monkeypatch.setenv("CHATLLM_HARDWARE", "tpu")
    with pytest.raises(Failed, match="neither cpu nor gpu"):
        flavour_of_machine()


def test_compose_has_the_five_and_waits_for_the_stores() -> None:
    assert set(SERVICES) == {"chatllm", "postgres", "valkey", "prometheus", "grafana"}
    assert SERVICES["chatllm"]["build"]["target"] in TARGETS
    assert SERVICES["chatllm"]["depends_on"].keys() == {"postgres", "valkey"}
    for name, service in SERVICES.items():
        tag = service["image"].rpartition(":")[2]
        assert re.match(r"v?\d", tag), f"{service['image']} is not pinned"
        assert name == "chatllm" or service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")


def test_what_compose_mounts_is_there_and_its_ports_are_this_machine_s_own() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            there = (REPOSITORY / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]
            assert there, volume
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), port


def test_prometheus_finds_its_files_and_grafana_its_dashboards() -> None:
    prometheus = SERVICES["prometheus"]
    mounted = [volume.split(":")[1] for volume in prometheus["volumes"]]
    config = next(part.partition("=")[2] for part in prometheus["command"] if part.startswith("--config.file"))
    document = yaml.safe_load((REPOSITORY / "configs/prometheus.yml").read_text())
    token = document["scrape_configs"][0]["http_sd_configs"][0]["authorization"]["credentials_file"]
    for path in (config, *(f"/opt/chatllm/configs/{rules}" for rules in document["rule_files"])):
        assert path in mounted
    assert f"/opt/chatllm/{token.removeprefix('../')}".startswith(f"{last('cpu', 'VOLUME')}/")
    assert prometheus["user"] == last("cpu", "USER"), "the token is readable by its owner alone"
    provisioning = REPOSITORY / "configs/grafana/provisioning"
    (provider,) = yaml.safe_load((provisioning / "dashboards/chatllm.yml").read_text())["providers"]
    assert f"./configs/grafana:{provider['options']['path']}:ro" in SERVICES["grafana"]["volumes"]
    (source,) = yaml.safe_load((provisioning / "datasources/prometheus.yml").read_text())["datasources"]
    assert source["url"] == "http://chatllm:9090"

"""`chatllm monitor`: a Prometheus for the service that runs on this machine."""

import os
import shutil
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from deployments.local.instance import Instance
from deployments.local.processes.ports import require_free
from deployments.local.ray.part import TOKEN
from deployments.local.settings import REPOSITORY, LauncherSettings
from deployments.local.state import LauncherError, StateFolder

CONFIG = REPOSITORY / "configs/prometheus.yml"
RETENTION_DAYS, RETENTION_GIB = 15, 2
MISSING = (
    "there is no prometheus on the PATH: install it (Debian and Ubuntu: apt install prometheus; macOS: brew install "
    "prometheus). The chat page's /ops shows the last hour without it"
)
Port = Annotated[int | None, typer.Option(min=1, max=65535, help="Port of Prometheus (9090).")]


def monitor(port: Port = None) -> None:
    """Run Prometheus for the running service, with the rules of configs/, until Ctrl-C."""
    settings = LauncherSettings.read(prometheus_port=port)
    program = shutil.which("prometheus")
    if program is None:
        raise LauncherError(MISSING)
    found = Instance.read(settings.state.absolute())
    if found is None:
        raise LauncherError(
            f"no service runs here (the state folder is {settings.state}): start it (make serve), or name its "
            "CHATLLM_STATE"
        )
    require_free({"port": settings.prometheus_port})
    state = StateFolder.open(settings.state).path
    file = state / "prometheus.yml"
    file.write_text(yaml.safe_dump(configured(found, state), sort_keys=False), encoding="utf-8")
    typer.echo(f"Prometheus: http://127.0.0.1:{settings.prometheus_port} (alerts: /alerts). Press Ctrl-C to stop.")
    command = command_of(program, file, state / "prometheus", settings.prometheus_port)
    os.execv(program, command)  # noqa: S606 - its own path, and arguments of ours


def configured(instance: Instance, state: Path) -> dict[str, Any]:
    """Return configs/prometheus.yml for one running service: its dashboard, its token, and the rules by their paths."""
    document = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    (discovery,) = document["scrape_configs"][0]["http_sd_configs"]
    discovery["url"] = f"{instance.dashboard_url}/api/prometheus/sd"
    discovery["authorization"]["credentials_file"] = str(state / TOKEN)
    document["rule_files"] = [str(CONFIG.parent / name) for name in document["rule_files"]]
    return document


def command_of(program: str, config: Path, data: Path, port: int) -> list[str]:
    """Return the command that runs Prometheus on this machine alone, its data bounded in time and size."""
    return [
        program,
        f"--config.file={config}",
        f"--storage.tsdb.path={data}",
        f"--storage.tsdb.retention.time={RETENTION_DAYS}d",
        f"--storage.tsdb.retention.size={RETENTION_GIB}GB",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]

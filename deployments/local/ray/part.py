"""Ray with the service in it, as one part that is started, watched and ended like the others."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from deployments.local.hardware import gpus
from deployments.local.hub.offline import offline_environment
from deployments.local.keys import write_secret
from deployments.local.processes import leftovers
from deployments.local.processes.child import end, spawn, tail
from deployments.local.processes.supervisor import Supervised, Supervisor
from deployments.local.ray.environment import empty_runtime, ray_environment
from deployments.local.ray.report import RayReport
from deployments.local.settings import REPOSITORY
from deployments.local.state import LauncherError, StateFolder

START_TIMEOUT_S = 180.0
GRACE_S = 20.0
TOKEN = "ray.token"  # noqa: S105 - a file's name


class RayPart(Supervised):
    """One process that holds a Ray cluster. The constructor does no I/O."""

    def __init__(self, state: StateFolder, stores: dict[str, str], dashboard_port: int, prometheus_port: int) -> None:
        self._state = state
        self._stores = stores
        self._dashboard_port = dashboard_port
        self._prometheus_port = prometheus_port
        self._log = state.logs / "ray.log"
        self._stopping = threading.Event()
        self._supervisor = Supervisor("ray", self._launch, stop_signals=(signal.SIGTERM,), grace_s=GRACE_S)

    @property
    def report(self) -> RayReport | None:
        """The last known state of Ray."""
        return RayReport.read(report_path(self._state.path))

    def start(self) -> None:
        """Start Ray and hand it the configuration; LauncherError says what kept it from starting."""
        self._supervisor.start()

    @property
    def is_drained(self) -> bool:
        """Whether no answer is waited for any more after `StopRequest.until` was set; true where Ray is down."""
        report = self.report
        return self.pid is None or report is None or report.is_drained or report.phase != "deployed"

    def stop(self) -> None:
        """End Ray and all that it started; harmless if it never ran."""
        self._stopping.set()
        self._supervisor.stop()
        leftovers.sweep(self._state.path, ("ray",))
        report_path(self._state.path).unlink(missing_ok=True)
        self._keep_logs()
        self._state.remove_sockets("ray")

    def _keep_logs(self) -> None:
        """Bring the logs of this run from the runtime folder, which goes, into the state folder."""
        logs = self._state.logs / "ray"
        if logs.is_symlink() and logs.exists():
            source = logs.resolve()
            logs.unlink()
            shutil.copytree(source, logs, symlinks=True, dirs_exist_ok=True)

    def _launch(self) -> subprocess.Popen[bytes]:
        """Start on clean ground and return once the service is deployed, though not yet up."""
        leftovers.sweep(self._state.path, ("ray",))
        report_path(self._state.path).unlink(missing_ok=True)
        runtime = self._runtime()
        token = self._state.path / TOKEN
        if not token.exists():
            write_secret(token, secrets.token_hex(32))
        process = spawn(
            [*self._command(runtime), *([f"--gpus={len(found)}"] if (found := gpus()) else [])],
            self._log,
            cwd=REPOSITORY,
            environment=ray_environment(self._state.path, runtime, self._stores, self._prometheus_port)
            | offline_environment(config_path(self._state.path)),
        )
        self._wait_until_deployed(process)
        return process

    def _command(self, runtime: Path) -> list[str]:
        return [
            sys.executable,
            "-m",
            "deployments.local.ray.process",
            f"--state={self._state.path}",
            f"--config={config_path(self._state.path)}",
            f"--report={report_path(self._state.path)}",
            f"--temporary={runtime / 'ray'}",
            f"--dashboard-port={self._dashboard_port}",
            f"--cpus={max(2, len(os.sched_getaffinity(0)))}",
        ]

    def _runtime(self) -> Path:
        """Return a fresh folder for sockets and logs; the logs of the run before are gone with it."""
        runtime = self._state.make_sockets("ray")
        empty_runtime(runtime)
        logs = self._state.logs / "ray"
        if logs.is_symlink():
            logs.unlink()
        shutil.rmtree(logs, ignore_errors=True)
        logs.symlink_to(runtime / "ray" / "session_latest" / "logs")
        return runtime

    def _wait_until_deployed(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._stopping.wait(0.05):
            report = self.report
            if report and report.phase == "deployed":
                return
            if report and report.phase == "failed":
                end(process, (signal.SIGTERM,), GRACE_S)
                raise LauncherError(f"Ray could not start the service: {report.error} (more in {self._log})")
            if process.poll() is not None:
                raise LauncherError(f"Ray ended at its start, see {self._log}: {tail(self._log)}")
            if time.monotonic() > deadline:
                process.kill()
                raise LauncherError(f"Ray did not start within {START_TIMEOUT_S:.0f} s, see {self._log}")
        process.terminate()


def report_path(state: Path) -> Path:
    """Return where Ray's holder writes what it sees."""
    return state / "ray.json"


def config_path(state: Path) -> Path:
    """Return where the configuration stands that is deployed."""
    return state / "serve_config.yaml"

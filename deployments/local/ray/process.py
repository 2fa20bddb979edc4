"""The process that holds Ray: starts it, deploys the service, and ends it whole.

Started by the launcher as `python -m deployments.local.ray.process`; its life is
that of the cluster. It gets SIGTERM when the launcher ends, however that ends,
and it ends with a non-zero status when Ray's own processes fall.
"""

import argparse
import contextlib
import logging
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import yaml

from deployments.infra.logs import log_to_terminal
from deployments.local.processes import leftovers
from deployments.local.ray import load_times
from deployments.local.ray.draining import drain
from deployments.local.ray.report import Deployment, RayReport
from deployments.local.ray.staging import without_engines
from deployments.local.stop_request import StopRequest

log = logging.getLogger(__name__)

CHECK_EVERY_S = 0.25
STEADY_EVERY_S = 2.0
MODEL_PREFIX = "model-"
ENTRY = "Entry"  # has no replica (deployments/app.py)
DEPLOY_FAILED = "DEPLOY_FAILED"
STEADY = ("RUNNING", "UNHEALTHY", DEPLOY_FAILED)
NEXT_IMPORTS = ("deployments.infra.ray.serving", "deployments.local.ray.serve_schema")
DASHBOARD_NICENESS = 10
DASHBOARD_FIRST_DELAY_S, DASHBOARD_MAX_DELAY_S = 1.0, 60.0


class RayFell(Exception):
    """A process without which Ray is none has ended."""


class Service:
    """The service within Ray, as this process sees it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._report = RayReport(phase="starting")
        self._stopping = threading.Event()
        self._node: Any = None
        self._proxies: list[Any] = []
        self._client: Any = None
        self._whole: Any = None  # what is still to be deployed
        self._main = ""  # the application of ingress and cache
        self._is_steady = False
        self._is_draining = False
        self._telling = threading.Lock()
        self._timed: set[str] = set()  # deployments whose time of loading has been kept

    def run(self) -> None:
        """Start, deploy and watch until a signal ends it or Ray falls; leave nothing behind."""
        try:
            self._start()
            self._watch()
        except (SystemExit, KeyboardInterrupt):
            self._tell(phase="stopped")
        except BaseException as error:
            self._tell(phase="failed", error=_sentence(error))
            raise
        finally:
            self._stop()

    def _start(self) -> None:
        self._tell()
        import ray

        from deployments.infra.ray.node import start_node

        signal.signal(signal.SIGTERM, _leave)
        options = self._options
        self._node = start_node(
            options.temporary, options.dashboard_port, options.cpus, options.gpus, imports=NEXT_IMPORTS
        )
        ray.init(address=self._node.address, namespace="serve", log_to_driver=False, configure_logging=False)
        signal.signal(signal.SIGTERM, _leave)
        self._tell(phase="connected", gcs=self._node.address)
        self._expect_times()
        self._node.importing.join()
        self._serve(yaml.safe_load(options.config.read_text(encoding="utf-8")))
        self._tell(phase="deployed")

    def _serve(self, document: dict[str, Any]) -> None:
        """Do what `serve.start` and `serve deploy` do, without waiting for the one before doing the other."""
        import ray

        from deployments.infra.ray.serving import start_serve
        from deployments.local.ray.serve_schema import require_room, validated
        from deployments.local.service_document import main_application

        schema = self._whole = validated(document)
        resources = ray.cluster_resources()
        require_room(schema, int(resources.get("CPU", 0)), int(resources.get("GPU", 0)))
        self._main = str(main_application(document)["name"])
        self._client, self._proxies = start_serve(schema)
        self._client.deploy_apps(validated(without_engines(document)))

    def _watch(self) -> None:
        import ray
        from ray.exceptions import RayActorError
        from ray.serve.exceptions import RayServeException

        while True:
            if fallen := self._node.fallen():
                raise RayFell(f"{' and '.join(fallen)} of Ray ended")
            ready, self._proxies = ray.wait(self._proxies, timeout=0) if self._proxies else ([], [])
            with contextlib.suppress(RayActorError):  # Serve replaced it by another
                ray.get(ready)  # raises what kept HAProxy from starting
            with contextlib.suppress(RayActorError, RayServeException):  # between two lives of the controller
                self._observe()
            self._pause(STEADY_EVERY_S if self._is_settled() else CHECK_EVERY_S)

    def _pause(self, seconds: float) -> None:
        """Wait, and begin to drain as soon as the launcher says so."""
        end = time.monotonic() + seconds
        while (left_s := end - time.monotonic()) > 0:
            if not self._is_draining and (stop := StopRequest.read(self._options.state)) and stop.until is not None:
                self._is_draining = True
                threading.Thread(target=self._drain, args=(stop.until,), name="drain", daemon=True).start()
            time.sleep(min(left_s, CHECK_EVERY_S))

    def _drain(self, until: float) -> None:
        drain(self._main, until, lambda answers: self._tell(answers=answers))
        self._tell(is_drained=True)

    def _is_settled(self) -> bool:
        return self._whole is None and self._is_steady

    def _observe(self) -> None:
        """Write Serve's view of the applications, and go on with the start as far as it is."""
        from ray import serve

        applications = serve.status().applications
        main = applications.get(self._main)
        if main is None:
            self._tell()
            return
        deployments: dict[str, Deployment] = {}
        for name, found in applications.items():
            deployments |= {one: self._seen(one, state) for one, state in found.deployments.items() if one != ENTRY}
            if not found.deployments and name != self._main and str(found.status.value) == DEPLOY_FAILED:
                deployments[name] = _refused(str(found.message))
        self._is_steady = all(str(found.status.value) in STEADY for found in applications.values())
        self._tell(application=str(main.status.value), message=main.message, deployments=deployments)
        if self._whole is not None and (ingress := deployments.get("Ingress")) and ingress.status == "HEALTHY":
            self._client.deploy_apps(self._whole)
            self._whole = None
            self._tell(dashboard=True)
            threading.Thread(target=self._hold_dashboard, name="dashboard", daemon=True).start()

    def _seen(self, name: str, state: Any) -> Deployment:
        """Return what is known of a deployment; keeps how long it took where it has just loaded."""
        from deployments.models.loading.deploying import absence
        from deployments.models.loading.progress import published

        status = str(state.status.value)
        seen = Deployment(status, state.message, {str(kind): count for kind, count in state.replica_states.items()})
        if not name.startswith(MODEL_PREFIX) or (status == "HEALTHY" and name in self._timed):
            return seen
        loading = published(name)
        if status == "HEALTHY":
            if loading is not None and loading.took_s is not None:
                self._timed.add(name)
                load_times.keep(self._options.state, name, loading.took_s)
            return seen
        why = absence(name, status, str(state.message), loading)
        phase = loading.phase if loading and loading.phase not in ("ready", "failed") else ""
        return replace(
            seen,
            reason=why.reason,
            phase=phase,
            percent=loading.percent if loading else None,
            has_failed=why.has_failed,
            expected_s=why.expected_s,
            since=loading.since if loading else None,
        )

    def _expect_times(self) -> None:
        from deployments.models.loading.progress import expect

        for name, took_s in load_times.read(self._options.state).items():
            expect(name, took_s)

    def _hold_dashboard(self) -> None:
        """Start the dashboard, and stay: the kernel ends a child when the thread that started it ends."""
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), DASHBOARD_NICENESS)
        delay_s = DASHBOARD_FIRST_DELAY_S
        while not self._stopping.is_set():
            try:
                self._node.start_dashboard()
            except Exception as error:  # noqa: BLE001 - the thread's boundary: a failed fork may work the next time
                log.warning("Ray's dashboard does not start", extra={"reason": str(error), "next_try_s": delay_s})
                self._stopping.wait(delay_s)
                delay_s = min(DASHBOARD_MAX_DELAY_S, delay_s * 2)
            else:
                self._stopping.wait()

    def _stop(self) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self._stopping.set()
        if self._node is not None:
            import ray

            ray.shutdown()
            self._node.kill_all_processes(check_alive=False, allow_graceful=False)
        leftovers.sweep(self._options.state, ("ray",))

    def _tell(self, **changes: Any) -> None:
        with self._telling:
            self._report = replace(self._report, written_at=time.time(), **changes)
            self._report.write(self._options.report)


def _refused(message: str) -> Deployment:
    """Return what stands for the deployment of an application that could not be built."""
    from deployments.models.loading.deploying import refusal

    return Deployment(DEPLOY_FAILED, message, reason=refusal(message), has_failed=True)


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


def _sentence(error: BaseException) -> str:
    """Return what went wrong in one line, without the remote traceback that Ray's errors carry."""
    if isinstance(error, ModuleNotFoundError):
        return f"the package {error.name} is missing: install it (make install)"
    lines = [line.strip() for line in str(getattr(error, "cause", None) or error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:500]


def main() -> None:
    """Run until told to stop."""
    log_to_terminal()
    parser = argparse.ArgumentParser()
    for name in ("state", "config", "report", "temporary"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--dashboard-port", type=int, required=True)
    parser.add_argument("--cpus", type=int, required=True)
    parser.add_argument("--gpus", type=int)
    with contextlib.suppress(KeyboardInterrupt):
        Service(parser.parse_args()).run()


if __name__ == "__main__":
    main()

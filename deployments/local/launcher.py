"""`chatllm up`: the whole service on one machine, from an empty folder to Ctrl-C."""

import logging
import signal
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from os import getpid
from types import FrameType
from typing import Any, Protocol

from deployments.config import VLLMModel
from deployments.local import announcement, background, checks, instance, keys, stop_request, weights
from deployments.local.http_probe import status_of
from deployments.local.instance import Instance
from deployments.local.memory.shares import this_machine, with_memory
from deployments.local.page.link import open_browser
from deployments.local.page.part import PagePart, takes_links
from deployments.local.processes import leftovers
from deployments.local.ray.part import RayPart, config_path
from deployments.local.servers.postgres import PostgresServer
from deployments.local.servers.valkey import ValkeyServer
from deployments.local.service_file import ServiceFile, read
from deployments.local.settings import LauncherSettings
from deployments.local.state import LauncherError, StateFolder
from deployments.local.status import phase_text
from deployments.local.steps import Steps
from deployments.local.stop_request import StopRequest

log = logging.getLogger(__name__)

POLL_S = 0.1
WATCH_S = 1.0
LEAVE_S = 20.0
"""How long the service may take past the deadline to write what is to be kept."""
ANSWER_TIMEOUT_S = 300.0
OLD_FORM = (
    "The service file has its models in one application with everything else, as files had before: on a cluster, "
    "changing one restarts all. Give each an application of its own (docs/how-to/cluster.md)."
)


class Part(Protocol):
    """Something that runs beside the launcher."""

    @property
    def restarts(self) -> int:
        """How often it was started again."""
        ...

    @property
    def trouble(self) -> str:
        """Why it is down and could not be started again yet, or nothing."""
        ...

    def start(self) -> object:
        """Bring it up or raise LauncherError."""
        ...

    def watch(self) -> None:
        """Keep it up; returns at once."""
        ...

    def stop(self) -> None:
        """Take it down; harmless if it is not up."""
        ...


class Stopped(Exception):
    """A signal asked the launcher to stop."""


class Launcher:
    """One run of the service in the foreground."""

    def __init__(self, settings: LauncherSettings, steps: Steps, *, announces: bool) -> None:
        self._settings = settings
        self._steps = steps
        self._announces = announces
        self._stop_requested = threading.Event()
        self._is_urgent = False
        """Whether it was asked twice."""
        self._began = time.monotonic()
        self._parts: dict[str, Part] = {}
        self._restarts: dict[str, int] = {}

    def run(self) -> None:
        """Start everything, keep it running until a signal, and leave nothing behind; LauncherError on failure."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._ask_to_stop)
        state = StateFolder.open(self._settings.state)
        with state.locked("launcher"), ExitStack() as stack:
            service = self._check(state)
            self._state, self._record = state.path, self._instance(service)
            self._awaited = service.settings.default.deployment
            stack.callback(instance.forget, state.path)
            stop_request.forget(state.path)
            stack.callback(stop_request.forget, state.path)
            self._tell()
            self._parts = self._make_parts(state, self._record)
            for part in self._parts.values():
                stack.callback(part.stop)
            stack.callback(self._say_stopping)
            try:
                self._start()
                while not self._stop_requested.wait(WATCH_S):
                    self._look_after_parts()
                self._drain()
            except Stopped:
                pass

    def _check(self, state: StateFolder) -> ServiceFile:
        weights.prepare(self._settings, state, self._steps)
        with self._steps.step("Check"):
            leftovers.sweep(state.path)
            service = read(self._settings)
            if service.was_single:
                self._steps.say(OLD_FORM)
            checks.require_adapters(service.settings.models)
            checks.require_loadable(service.settings)
            service = with_memory(service, this_machine())
            if service.uses_gpus:
                checks.require_compiler()
            elif any(isinstance(model, VLLMModel) for model in service.settings.models):
                checks.require_libnuma()
            checks.require_open_files()
            checks.require_ports(self._settings, service.host)
            checks.require_stores(self._settings)
            service.write(config_path(state.path))
        return service

    def _instance(self, service: ServiceFile) -> Instance:
        settings = self._settings
        return Instance(
            pid=getpid(),
            started_ticks=instance.started_ticks(getpid()) or 0,
            host=service.host,
            port=settings.port,
            page_port=settings.page_port if settings.page else None,
            dashboard_port=settings.dashboard_port,
            model=service.settings.default.id,
            embedded_postgres=settings.database_url is None,
            embedded_valkey=settings.redis_url is None,
            page_takes_links=settings.page and takes_links(settings.page_host),
            page_host=settings.page_host,
            config=str(settings.config.absolute()),
            chosen_model=settings.model,
        )

    def _make_parts(self, state: StateFolder, record: Instance) -> dict[str, Part]:
        """Return the parts in the order in which they start; they stop in reverse."""
        parts: dict[str, Part] = {}
        postgres, valkey = PostgresServer(state), ValkeyServer(state)
        own_database, own_redis = self._settings.database_url, self._settings.redis_url
        stores = {
            "DATABASE_URL": own_database.get_secret_value() if own_database else postgres.url,
            "REDIS_URL": own_redis.get_secret_value() if own_redis else valkey.url,
        }
        self._database_url = stores["DATABASE_URL"]
        if own_database is None:
            parts["Postgres"] = postgres
        if own_redis is None:
            parts["Valkey"] = valkey
        self._ray = RayPart(state, stores, record.dashboard_port, self._settings.prometheus_port)
        parts["Ray"] = self._ray
        if record.page_port:
            parts["Page"] = PagePart(state, record)
        return parts

    def _start(self) -> None:
        parts, record = self._parts, self._record
        with ThreadPoolExecutor(len(parts) + 1, thread_name_prefix="start") as pool:
            try:
                futures = {name: pool.submit(self._start_part, name, part) for name, part in parts.items()}
                if "Postgres" in futures:
                    self._result(futures["Postgres"])
                key = keys.ensure_first(self._database_url, self._state)
                for future in futures.values():
                    self._result(future)
                self._wait("API answers", record.api_url + "/health")
            except BaseException:
                # What is still starting must not hold up the end.
                for part in parts.values():
                    part.stop()
                raise
        self._tell(phase="answering")
        if self._announces:
            self._steps.say(announcement.text(record, key, self._state))
            if self._settings.browser:
                open_browser(record, self._state, sys.stdout)
        self._wait(f"Model {record.model} answers", record.api_url + "/ready", self._awaited)
        self._tell(phase="ready")
        hint = " Press Ctrl-C to stop." if self._announces else ""
        self._steps.say(f"Ready after {time.monotonic() - self._began:.1f} s.{hint}")

    def _start_part(self, name: str, part: Part) -> None:
        with self._steps.step(name):
            part.start()
        part.watch()

    def _result(self, future: "Future[None]") -> None:
        """Wait for a part, but not beyond a signal."""
        while not future.done():
            self._raise_if_stopped()
            time.sleep(POLL_S)
        future.result()

    def _wait(self, name: str, url: str, loading: str = "") -> None:
        """Wait until `url` says 200; the model may take as long as it loads, unless Serve gives up.

        `loading` is a deployment, of which the step tells how far it has come.
        """
        began = time.monotonic()
        with self._steps.step(name) as tell:
            # Until its first replica is there, Serve holds requests back: better to ask again than to
            # wait with it, unless the machine is so busy that every answer takes its time.
            while status_of(url, min(2.0, max(0.3, (time.monotonic() - began) / 20))) != 200:
                self._raise_if_stopped()
                self._look_after_parts()
                report = self._ray.report
                if report and report.has_failed(self._awaited):
                    raise LauncherError(announcement.failure(report))
                if report and (awaited := report.deployments.get(loading)):
                    tell(phase_text(awaited, time.time()))
                time.sleep(POLL_S)

    def _look_after_parts(self) -> None:
        """Tell of every part that had to be started again, or could not be."""
        for name, part in self._parts.items():
            if part.restarts > self._restarts.get(name, 0):
                self._restarts[name] = part.restarts
                self._steps.say(f"{name} had ended and was started again.")
        troubles = {name: trouble for name, part in self._parts.items() if (trouble := part.trouble)}
        if troubles != self._record.troubles:
            self._tell(troubles=troubles)

    def _drain(self) -> None:
        """Let the answers that run end, until the deadline or a second signal; new requests are refused."""
        asked = StopRequest.read(self._state)
        deadline_s = asked.deadline_s if asked else self._settings.drain_s
        if deadline_s <= 0:
            return
        self._tell(phase="draining")
        until = time.time() + deadline_s
        try:
            StopRequest(deadline_s, until).write(self._state)
        except OSError as error:
            log.warning("answers are not waited for", extra={"reason": error.strerror})
            return
        notice = background.WaitingNotice(deadline_s, self._steps.say)
        while not (self._is_urgent or self._ray.is_drained or time.time() > until + LEAVE_S):
            notice.show(self._ray.report)
            time.sleep(POLL_S)

    def _say_stopping(self) -> None:
        self._tell(phase="stopping")
        self._steps.say("Stopping …")

    def _tell(self, **changes: Any) -> None:
        """Write the record that `status` reads; a full disk does not end the service."""
        self._record = replace(self._record, **changes)
        try:
            self._record.write(self._state)
        except OSError as error:
            log.warning("the launcher's record cannot be written", extra={"reason": error.strerror})

    def _raise_if_stopped(self) -> None:
        if self._stop_requested.is_set():
            raise Stopped

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        self._is_urgent = self._stop_requested.is_set()
        self._stop_requested.set()

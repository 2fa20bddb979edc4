"""`chatllm up --detach`: the launcher in the background, its progress relayed until it is far enough."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from deployments.local import announcement, instance
from deployments.local.instance import Instance
from deployments.local.keys import FILE as KEY_FILE
from deployments.local.page.link import open_browser
from deployments.local.ray.part import report_path
from deployments.local.ray.report import RayReport
from deployments.local.settings import REPOSITORY, LauncherSettings
from deployments.local.state import LauncherError, StateFolder
from deployments.local.stop_request import StopRequest

POLL_S = 0.1
STOP_TIMEOUT_S = 60.0
PREFIX = "chatllm: "


def start(settings: LauncherSettings, *, waits_for_model: bool) -> None:
    """Run `chatllm up` in a session of its own; return once the API, or the model, answers.

    LauncherError carries the sentence with which the background launcher ended.
    """
    state = StateFolder.open(settings.state)
    with state.locked("launcher"):  # says so at once if another one runs
        log = state.logs / "launcher.log"
        log.unlink(missing_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603
            _command(settings),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=REPOSITORY,
            env={**os.environ, "CHATLLM_STATE": str(state.path)},
            start_new_session=True,
        )
    try:
        found = _follow(process, log, state.path, ("ready",) if waits_for_model else ("answering", "ready"))
    except KeyboardInterrupt:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_TIMEOUT_S)
        raise LauncherError("stopped before the service was up") from None
    key = (state.path / KEY_FILE).read_text(encoding="utf-8").strip()
    sys.stdout.write(
        announcement.text(found, key, state.path) + "\n  It runs in the background; chatllm down ends it.\n"
    )
    if settings.browser:
        open_browser(found, state.path, sys.stdout)


def _command(settings: LauncherSettings) -> list[str]:
    """Return the same call for the foreground; what has a password stays in the environment."""
    return [
        sys.executable,
        *("-m", "deployments.local.cli", "up", "--in-background"),
        f"--config={settings.config}",
        f"--port={settings.port}",
        f"--page-host={settings.page_host}",
        f"--page-port={settings.page_port}",
        f"--dashboard-port={settings.dashboard_port}",
        *([] if settings.page else ["--no-page"]),
    ]


def _follow(process: "subprocess.Popen[bytes]", log: Path, state: Path, phases: Sequence[str]) -> Instance:
    """Relay the log until the launcher has reached one of the phases."""
    error = ""
    with log.open(encoding="utf-8", errors="replace") as lines:
        while True:
            status = process.poll()
            error = _relay(lines.readlines()) or error
            if status is not None:
                raise LauncherError(error or f"the launcher ended with status {status}, see {log}")
            found = Instance.read(state)
            if found and found.pid == process.pid and found.phase in phases:
                return found
            time.sleep(POLL_S)


def _relay(lines: Sequence[str]) -> str:
    """Print the lines; return the sentence of an error without printing it."""
    error = ""
    for line in lines:
        if line.startswith(PREFIX):
            error = line.removeprefix(PREFIX).strip()
        else:
            sys.stdout.write(line)
    sys.stdout.flush()
    return error


def stop(state: StateFolder, deadline_s: float, say: Callable[[str], object]) -> bool:
    """End the running instance, whoever started it, and return whether there was one.

    Answers that run have `deadline_s` to end; how many there are is told to `say`.
    """
    found = Instance.read(state.path)
    if found is None:
        return False
    try:
        StopRequest(deadline_s).write(state.path)
    except OSError as error:  # a full disk must not keep the service from ending
        say(f"The deadline cannot be passed on ({error.strerror}): answers have as long as the launcher was told.")
    notice = WaitingNotice(deadline_s, say)
    found.end(deadline_s + STOP_TIMEOUT_S, lambda: notice.show(RayReport.read(report_path(state.path))))
    instance.forget(state.path)
    return True


class WaitingNotice:
    """Says once for how many answers a stop waits."""

    def __init__(self, deadline_s: float, say: Callable[[str], object]) -> None:
        self._deadline_s = deadline_s
        self._say = say
        self._was_shown = False

    def show(self, report: RayReport | None) -> None:
        """Say it as soon as Ray's process reports answers that run."""
        if report and report.answers and not report.is_drained and not self._was_shown:
            self._was_shown = True
            what = "1 answer" if report.answers == 1 else f"{report.answers} answers"
            limit = f"{self._deadline_s:.0f} s"
            self._say(f"Waiting for {what} to end, for {limit} at most. Press Ctrl-C to stop at once.")

"""Ray's head node, started as `ray start --head` does, but within this process and in seconds.

Measured on two cores: the command itself spends 2.6 s of CPU before it starts
anything, the autoscaler's monitor 1.2 s, and the dashboard (ten processes)
some 10 s just when Serve and the model need both cores. None of them is needed
to answer the first request, so the monitor is left out and the dashboard comes last.
The command line has no options for that, so these are Ray's internal classes.
"""

import importlib
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ray._private.node import Node
from ray._private.parameter import RayParams

OBJECT_STORE_BYTES = 128 * 1024 * 1024  # chat messages travel outside it


class LocalNode(Node):
    """A head node whose dashboard starts when it is told to."""

    imports: Sequence[str] = ()
    """Modules to import in the 3 s in which Ray waits for its agents."""

    def start_api_server(self, *, include_dashboard: bool | None, raise_on_failure: bool) -> None:
        """Do nothing yet: Ray calls this in the middle of its start."""

    def start_raylet(self, *arguments: Any, **options: Any) -> None:
        """Start the raylet, and begin to import `imports`."""
        super().start_raylet(*arguments, **options)
        self.importing = threading.Thread(target=_import, args=(self.imports,), name="import-serve")
        self.importing.start()

    def start_dashboard(self) -> None:
        """Start Ray's dashboard; a failure is logged by Ray and costs only the dashboard."""
        super().start_api_server(include_dashboard=True, raise_on_failure=False)

    def fallen(self) -> list[str]:
        """Return the names of the processes without which the node is none and that have ended."""
        return [name for name, process in self._dead() if name in ("gcs_server", "raylet") and process]

    def _dead(self) -> list[tuple[str, subprocess.Popen[bytes]]]:
        return list(self.dead_processes())


def start_node(
    temporary: Path, dashboard_port: int, cpus: int, gpus: int | None, imports: Sequence[str] = ()
) -> LocalNode:
    """Start the node on 127.0.0.1, on ports that the kernel chooses; its processes end with this one.

    `imports` are modules that the caller needs next: `LocalNode.importing` is the thread that imports them.
    """
    parameters: dict[str, Any] = {
        "node_ip_address": "127.0.0.1",
        "gcs_server_port": 0,
        "dashboard_agent_listen_port": 0,
        "dashboard_host": "127.0.0.1",
        "dashboard_port": dashboard_port,
        "include_dashboard": False,
        "include_log_monitor": False,
        "no_monitor": True,
        "num_cpus": cpus,
        "num_gpus": gpus,
        "object_store_memory": OBJECT_STORE_BYTES,
        "temp_dir": str(temporary),
    }
    LocalNode.imports = imports
    return LocalNode(RayParams(**parameters), head=True, shutdown_at_exit=False, spawn_reaper=True)


def _import(names: Sequence[str]) -> None:
    for name in names:
        importlib.import_module(name)

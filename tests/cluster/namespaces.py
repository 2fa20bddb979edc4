"""Machines of a cluster on this one: network namespaces with addresses of their own, on a bridge that a test reaches.

Every machine also has processes and a /tmp of its own, so that it dies as a whole and its files are no other's. All
names begin with the process id of the test run; what a run that was killed has left, the next one removes.
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
PREFIX = "cllm"
OWNED = re.compile(rf"\b{PREFIX}(\d+)-")
START_S = 60
PROGRAMS = ("ip", "nsenter", "unshare", "mount", "setpriv")
APART = ("unshare", "--mount", "--pid", "--uts", "--fork", "--kill-child", "--mount-proc")
# It adopts what loses its parent, and the kernel takes from it what has ended.
INIT = "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN); [signal.pause() for _ in iter(int, 1)]"


def missing() -> str | None:
    """Return what this machine lacks for network namespaces, None where it has all."""
    if absent := [program for program in PROGRAMS if shutil.which(program) is None]:
        return f"{absent[0]} (apt install iproute2 util-linux mount)"
    mine = f"{PREFIX}{os.getpid()}-"
    name, bridge, cable, peer = f"{mine}try", f"{mine}tb", f"{mine}tc", f"{mine}tp"
    try:
        _run("ip", "netns", "add", name)
        _run("ip", "netns", "exec", name, *APART, "true")
        _run("ip", "link", "add", bridge, "type", "bridge")
        _run("ip", "link", "add", cable, "type", "veth", "peer", "name", peer)
        _run("ip", "link", "set", cable, "master", bridge)
        _run("ip", "link", "set", peer, "netns", name)
    except subprocess.CalledProcessError as error:
        return f"root with network namespaces ({' '.join(error.cmd[:4])} is not permitted)"
    finally:
        for made in (("link", "delete", cable), ("link", "delete", bridge), ("netns", "delete", name)):
            subprocess.run(["ip", *made], capture_output=True, check=False)
    return None


@dataclass
class Machine:
    """A machine that can lose its power and its cable."""

    name: str
    address: str
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    _holder: "subprocess.Popen[bytes] | None" = None
    _started: "list[subprocess.Popen[bytes]]" = field(default_factory=list)

    @property
    def namespace(self) -> str:
        return f"{PREFIX}{os.getpid()}-{self.name}"

    @property
    def cable(self) -> str:
        """The end of its cable at the bridge."""
        return f"{PREFIX}{os.getpid()}-{self.address.rpartition('.')[2]}"  # 15 characters at most

    def boot(self) -> None:
        """Start it with the files that it had before and no process."""
        temporary = self.folder / "tmp"
        temporary.mkdir(parents=True, exist_ok=True)
        own = [f"mount --rbind {temporary} /tmp", "mount -t tmpfs tmpfs /dev/shm", f"hostname {self.name}"]
        steps = [*own, f"exec {sys.executable} -c '{INIT}'"]
        if ROOT.is_relative_to("/tmp"):
            inside = temporary / ROOT.relative_to("/tmp")
            steps.insert(0, f"mkdir -p {inside} && mount --rbind {ROOT} {inside}")
        network = ["setpriv", "--pdeathsig=KILL", "ip", "netns", "exec", self.namespace]
        self._holder = subprocess.Popen([*network, *APART, "sh", "-ec", "; ".join(steps)])
        end = time.monotonic() + START_S
        while b"signal.pause" not in _command_line(self._first()):
            if time.monotonic() > end or self._holder.poll() is not None:
                raise AssertionError(f"the machine {self.name} does not start")
            time.sleep(0.02)

    def kill(self) -> None:
        """End all of its processes at once, as a kernel does that panics with its network still up."""
        if self._holder is not None:
            self._holder.kill()
            for process in (self._holder, *self._started):
                process.wait()
            self._holder = None
            self._started.clear()

    def cut(self) -> None:
        """Pull its cable: nothing comes through, and nobody is told."""
        _run("ip", "link", "set", self.cable, "down")

    def mend(self) -> None:
        """Plug its cable in again."""
        _run("ip", "link", "set", self.cable, "up")

    def run(self, *command: str, timeout_s: float = 300, check: bool = True) -> str:
        """Run a command on it and return what it printed."""
        done = subprocess.run(
            self._inside(*command),
            cwd=ROOT,
            env={**self.environment},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"{self.name}: {command} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def start(self, *command: str) -> None:
        """Start a command on it, its output in a file of its folder; it ends with the machine."""
        with (self.folder / "output.log").open("ab") as output:
            given = {"cwd": ROOT, "env": {**self.environment}, "stdout": output, "stderr": output}
            self._started.append(subprocess.Popen(self._inside(*command), **given))

    def processes(self, pattern: str) -> list[int]:
        """Return the ids, as this machine's own, of processes whose command line matches."""
        found = subprocess.run(
            ["ip", "netns", "pids", self.namespace], capture_output=True, text=True, check=True
        ).stdout.split()
        return [pid for pid in map(int, found) if re.search(pattern, _command_line(pid).decode(errors="replace"))]

    def _first(self) -> int:
        """Return the id of its first process, 0 before there is one."""
        assert self._holder
        with contextlib.suppress(OSError, ValueError):
            return int(Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children").read_text())
        return 0

    def _inside(self, *command: str) -> list[str]:
        spaces = [f"--target={self._first()}", "--net", "--mount", "--pid", "--uts", f"--wd={ROOT}"]
        return ["setpriv", "--pdeathsig=KILL", "nsenter", *spaces, "--", *command]


@contextmanager
def machines(folder: Path, *names: str) -> Iterator[list[Machine]]:
    """Make machines that reach each other, and that this process reaches, and remove them."""
    sweep()
    subnet, bridge = _free_subnet(), f"{PREFIX}{os.getpid()}-b"
    made = [Machine(name, f"{subnet}.{number}", folder / name) for number, name in enumerate(names, 1)]
    try:
        _run("ip", "link", "add", bridge, "type", "bridge")
        _run("ip", "address", "add", f"{subnet}.254/24", "dev", bridge)
        _run("ip", "link", "set", bridge, "up")
        for machine in made:
            _connect(machine, bridge)
            machine.boot()
        yield made
    finally:
        for machine in made:
            machine.kill()
        _remove(os.getpid())


def sweep() -> None:
    """Remove what ended test runs have left behind."""
    told = _run("ip", "netns", "list") + _run("ip", "-o", "link", "show")
    for pid in {int(found) for found in OWNED.findall(told)}:
        if pid != os.getpid() and b"pytest" not in _command_line(pid):
            _remove(pid)


def _connect(machine: Machine, bridge: str) -> None:
    peer = f"{PREFIX}{os.getpid()}-p"
    _run("ip", "netns", "add", machine.namespace)
    _run("ip", "link", "add", machine.cable, "type", "veth", "peer", "name", peer)
    _run("ip", "link", "set", machine.cable, "master", bridge, "up")
    _run("ip", "link", "set", peer, "netns", machine.namespace, "name", "eth0")
    for command in (
        ("address", "add", f"{machine.address}/24", "dev", "eth0"),
        ("link", "set", "eth0", "up"),
        ("link", "set", "lo", "up"),
    ):
        _run("ip", "-n", machine.namespace, *command)


def _remove(owner: int) -> None:
    """Remove all that a test run made: processes, namespaces, cables and the bridge."""
    mine = f"{PREFIX}{owner}-"
    for line in _run("ip", "netns", "list").splitlines():
        if (name := line.split()[0]).startswith(mine):
            for pid in _run("ip", "netns", "pids", name).split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), 9)
            _run("ip", "netns", "delete", name)
    for line in _run("ip", "-o", "link", "show").splitlines():
        if (name := line.split()[1].partition("@")[0].rstrip(":")).startswith(mine):
            subprocess.run(["ip", "link", "delete", name], capture_output=True, check=False)  # one end takes the other


def _free_subnet() -> str:
    taken = _run("ip", "-o", "address", "show") + _run("ip", "route", "show")
    return next(subnet for number in range(77, 250) if (subnet := f"10.{number}.213") not in taken)


def _command_line(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
    return b""


def _run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout

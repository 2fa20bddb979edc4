"""vLLM is to compile the model on a machine without a compiler: the start ends with one sentence and its remedy."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.launched import COMMAND, FOREIGN, GUIDE, free_ports

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]

COMPILER = re.compile(r"(.*-)?(gcc|g\+\+|cc|c\+\+|c89|c99|clang|clang\+\+|icx|icpx)(-[\d.]+)?$")


def path_without_compilers(folder: Path) -> str:
    """Return a PATH with all programs of this machine's but compilers."""
    folder.mkdir()
    for place in os.environ["PATH"].split(os.pathsep):
        for program in Path(place).iterdir() if Path(place).is_dir() else ():
            link = folder / program.name
            if not COMPILER.match(program.name) and not link.is_symlink():
                link.symlink_to(program)
    return str(folder)


def test_a_missing_compiler_is_one_sentence(tmp_path: Path) -> None:
    document = yaml.safe_load(GUIDE.read_text())
    model = document["applications"][1]["args"]
    model["engine"] |= {"enforce_eager": False, "model": str(GUIDE.parents[1] / model["engine"]["model"])}
    # Else what an earlier start has compiled would do.
    caches = {"VLLM_CACHE_ROOT": str(tmp_path / "vllm"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "inductor")}
    model["environment"] = {**model.get("environment", {}), **caches}
    file = tmp_path / "service.yaml"
    file.write_text(yaml.safe_dump(document))
    port, page_port, dashboard_port = free_ports(3)
    environment = {name: value for name, value in os.environ.items() if not name.startswith((*FOREIGN, "CC", "CXX"))}
    environment |= {
        "PATH": path_without_compilers(tmp_path / "bin"),
        "CHATLLM_STATE": str(tmp_path / "state"),
        "CHATLLM_PORT": str(port),
        "CHATLLM_PAGE_PORT": str(page_port),
        "CHATLLM_DASHBOARD_PORT": str(dashboard_port),
    }
    up = [*COMMAND, "up", "--no-page", "--config", str(file)]
    ended = subprocess.run(up, env=environment, capture_output=True, text=True, timeout=400, check=False)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    said = ended.stderr.strip().splitlines()[-1]
    assert "vLLM compiles when it starts, and no working compiler is here: apt install g++" in said

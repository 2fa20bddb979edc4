"""The OpenAI SDK's own tests of its API resources, from its source package, against a service with scripted models.

`make test-openai-sdk` (`ARGS="-k responses"`); what is asked differently than there stands in `openai_objects.py`.
"""

import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from tests.clients.install import CLIENTS, HERE, done, is_new, run
from tests.launched import launched, service_file

FOLDER = CLIENTS / "openai"
SOURCE = FOLDER / "openai-3.57.0"
MODELS = [
    {"id": "quick", "kind": "scripted", "tokens": 8, "context_tokens": 200_000},
    {"id": "vectors", "kind": "scripted", "embedding_dimensions": 4},
]
ALIASES = {"text-embedding-*": "vectors"}
TESTS = [
    "chat",
    "conversations",
    "responses",
    "test_completions.py",
    "test_conversations.py",
    "test_embeddings.py",
    "test_models.py",
    "test_responses.py",
]


def main(arguments: list[str]) -> int:
    """Install what has changed, start the service, and return the exit status of the SDK's tests."""
    install()
    settings = {"aliases": ALIASES, "unknown_models_get_default": True}
    with launched(service_file(MODELS, {}, **settings)) as service:
        environment = {
            **os.environ,
            "CHATLLM_URL": service.url,
            "CHATLLM_KEY": service.key,
            "TEST_API_BASE_URL": f"{service.url}/v1",
            "PYTHONPATH": str(HERE),
        }
        python = str(FOLDER / "venv" / "bin" / "python")
        options = ["-p", "openai_objects", "-p", "no:cacheprovider", "-o", "addopts=", "-q", "--tb=short", "-rs"]
        tests = [f"tests/api_resources/{name}" for name in TESTS]
        command = [python, "-m", "pytest", *options, *tests, *arguments]
        return subprocess.run(command, cwd=SOURCE, env=environment, check=False).returncode


def install() -> None:
    """Install the SDK with what its tests need, and unpack its source package, both checked by their hashes."""
    lock, uv = "openai_api_tests.txt", [sys.executable, "-m", "uv"]
    if not is_new("openai", lock):
        return
    python = str(FOLDER / "venv" / "bin" / "python")
    run(*uv, "venv", "-q", "--clear", "--python", sys.executable, str(FOLDER / "venv"))
    run(*uv, "pip", "install", "-q", "--require-hashes", "--python", python, "-r", str(HERE / lock))
    with tempfile.TemporaryDirectory() as folder:
        pip = [*uv, "run", "-q", "--no-project", "--with", "pip", "python", "-m", "pip", "download", "-q", "-d", folder]
        run(*pip, "--no-deps", "--no-binary", ":all:", "--require-hashes", "-r", str(HERE / "openai_sdist.txt"))
        with tarfile.open(next(Path(folder).glob("*.tar.gz"))) as archive:
            archive.extractall(FOLDER, filter="data")
    done("openai", lock)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Watching a model load from within its replica: the engine's output shows the phase, and why it failed.

vLLM's engine is another process, whose output goes where this process's goes: into the log files that Ray has
opened for it. They are read from where they ended when loading began.
"""

import logging
import os
import re
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from deployments.config import AnyModel, VLLMModel
from deployments.models.catalogue import Catalogue, is_path
from deployments.models.files.hub_cache import repository_folder
from deployments.models.loading.failure import ModelLoadFailed, diagnose
from deployments.models.loading.progress import Loading, Phase, publish, published

log = logging.getLogger(__name__)

POLL_S = 0.5
MAX_PRINTED_BYTES = 4 << 20
ORDER: tuple[Phase, ...] = ("starting", "downloading", "reading_weights", "compiling", "warming_up")
MARKS: tuple[tuple[Phase, re.Pattern[str]], ...] = (
    ("reading_weights", re.compile(r"Starting to load model|Loading \w+ checkpoint shards:\s+(?P<percent>\d+)%")),
    ("compiling", re.compile(r"Warming up model for the compilation|torch\.compile|Dynamo bytecode|Compiling a graph")),
    (
        "warming_up",
        re.compile(r"KV cache size: |Capturing CUDA graphs.*?:\s+(?P<percent>\d+)%|Graph capturing finished"),
    ),
)
"""By what in the engine's output a phase is known to have begun."""


class EngineOutput:
    """What this process and its children print from now on, as far as it goes into files."""

    def __init__(self, descriptors: tuple[int, ...] = (1, 2)) -> None:
        self._starts: dict[Path, int] = {}
        for descriptor in descriptors:
            path = Path(f"/proc/self/fd/{descriptor}")
            try:
                target = path.readlink()
                if target.is_file():
                    self._starts[target] = target.stat().st_size
            except OSError:
                continue

    def text(self) -> str:
        """Return the first few megabytes of it, each file's after the other's."""
        return "\n".join(self._read(path, start) for path, start in self._starts.items())

    def _read(self, path: Path, start: int) -> str:
        try:
            with path.open("rb") as file:
                file.seek(start)
                return file.read(MAX_PRINTED_BYTES).decode(errors="replace")
        except OSError:
            return ""


def phase_of(printed: str, state: Loading) -> Loading:
    """Return the state with the last phase that the engine's output shows. A phase that is over does not come back."""
    for phase, pattern in MARKS:
        last = next(reversed(list(pattern.finditer(printed))), None)
        if last is not None and ORDER.index(phase) >= ORDER.index(state.phase):
            percent = last.groupdict().get("percent")
            state = replace(state, phase=phase, percent=int(percent) if percent else None)
    return state


def downloaded(model: AnyModel) -> tuple[bool, int | None]:
    """Return whether the model's files are being downloaded now, and how many percent are there, if known."""
    if not isinstance(model, VLLMModel) or is_path(name := str(model.engine["model"])):
        return False, None
    blobs = repository_folder(name) / "blobs"
    try:
        files = [(entry.name, entry.stat().st_size) for entry in os.scandir(blobs)]
    except OSError:
        return False, None
    known = Catalogue.load().entry(name)
    percent = min(99, round(100 * sum(size for _, size in files) / known.bytes)) if known else None
    return any(file.endswith(".incomplete") for file, _ in files), percent


@contextmanager
def watched(model: AnyModel) -> Generator[None]:
    """Report the phases while the block loads `model`; a failure is reported and raised as ModelLoadFailed."""
    states = [Loading.begun(_before(model))]
    publish(model.deployment, states[-1])
    output, ended = EngineOutput(), threading.Event()
    watcher = threading.Thread(target=_watch, args=(model, states, output, ended), name="load-watch", daemon=True)
    watcher.start()
    try:
        yield
    except Exception as error:
        ended.set()
        watcher.join()
        failure = error.failure if isinstance(error, ModelLoadFailed) else diagnose(output.text(), error)
        publish(model.deployment, states[-1].failed(failure))
        log.error("the model did not load", extra={"model": model.id, "reason": failure.sentence}, exc_info=error)
        raise ModelLoadFailed(failure.sentence, failure.code, failure.may_pass) from None
    ended.set()
    watcher.join()
    publish(model.deployment, states[-1].ready())


def _before(model: AnyModel) -> Loading | None:
    try:
        return published(model.deployment)
    except Exception as error:  # noqa: BLE001 - the boundary to Ray: a model loads whether or not its past is known
        log.warning("the state of the load before cannot be read", extra={"reason": type(error).__name__})
        return None


def _watch(model: AnyModel, states: list[Loading], output: EngineOutput, ended: threading.Event) -> None:
    """Publish each change, and leave the last state in `states`."""
    while not ended.wait(POLL_S):
        state = states[-1]
        found = phase_of(output.text(), state)
        if found.phase == "starting":
            is_downloading, percent = downloaded(model)
            found = replace(found, phase="downloading", percent=percent) if is_downloading else found
        elif found.phase == "downloading":
            is_downloading, percent = downloaded(model)
            found = replace(found, percent=percent if is_downloading else None)
        if found != state and not ended.is_set():
            if found.phase != state.phase:
                found = replace(state.entered(found.phase), percent=found.percent)
            states[:] = [found]
            publish(model.deployment, found)

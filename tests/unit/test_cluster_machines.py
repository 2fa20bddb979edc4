"""Cluster tests say what a machine lacks for them, and use memory only where it has room."""

import shutil
import subprocess
from types import SimpleNamespace

import pytest

from tests import folders
from tests.cluster import namespaces


@pytest.mark.parametrize("refused", ["netns add", "unshare", "type bridge", "type veth"])
def test_whatever_is_not_permitted_is_named_and_nothing_is_left(refused: str, monkeypatch: pytest.MonkeyPatch) -> None:
    removed: list[tuple[str, ...]] = []

    def run(*command: str) -> str:
        if refused in " ".join(command):
            raise subprocess.CalledProcessError(1, command)
        return ""

    def remove(command: list[str], **_options: object) -> None:
        removed.append(tuple(command[1:3]))

    monkeypatch.setattr(shutil, "which", lambda program: program)
    monkeypatch.setattr(namespaces, "_run", run)
    monkeypatch.setattr(subprocess, "run", remove)
    lacking = namespaces.missing()
    assert lacking and lacking.startswith("root with network namespaces (ip ")
    assert removed == [("link", "delete"), ("link", "delete"), ("netns", "delete")]


@pytest.mark.parametrize(("free", "is_used"), [(folders.ROOM_BYTES + 1, True), (folders.ROOM_BYTES - 1, False)])
def test_memory_holds_folders_only_where_it_has_room(
    free: int, is_used: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setattr(folders, "MEMORY", tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=free))
    assert folders.roomy_memory() == (tmp_path if is_used else None)

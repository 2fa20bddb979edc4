"""Pulling a model from a hub: whole, resumed, checked, or refused with a sentence that names the remedy."""

import io
import os
import runpy
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants, snapshot_download, try_to_load_from_cache

from deployments.config import hugging_face_cache
from deployments.hub import blob, pull
from deployments.hub.errors import HubError
from deployments.hub.files import HubFile, needed
from deployments.hub.progress import PlainTransfer
from deployments.hub.pull import Pull
from tests.hub import Hub, Repository, running_hub

NAME = "owner/model"
WEIGHTS = os.urandom(300_000)
FILES = {
    "config.json": b'{"model_type": "llama"}',
    "tokenizer.json": os.urandom(3_000),
    "model.safetensors": WEIGHTS,
    "1_Pooling/config.json": b'{"pooling": true}',
    "pytorch_model.bin": os.urandom(5_000),
    "modeling_evil.py": b"import os",
    "original/consolidated.safetensors": os.urandom(5_000),
    "README.md": b"# A model",
}
WANTED = {"config.json", "tokenizer.json", "model.safetensors", "1_Pooling/config.json"}


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blob, "RETRY_S", 0.0)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub() as running:
        running.repositories[NAME] = Repository(dict(FILES))
        yield running


def pulled(hub: Hub, cache: Path, name: str = NAME, revision: str = "main") -> tuple[Path, str]:
    output = io.StringIO()
    return Pull(hub.url, cache, name, revision).run(PlainTransfer(name, output, every_s=0.0)), output.getvalue()


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_what_is_needed_arrives_and_nothing_that_is_code_or_pickled(hub: Hub, tmp_path: Path) -> None:
    folder, told = pulled(hub, tmp_path)
    assert files_in(folder) == WANTED
    assert {name: (folder / name).read_bytes() for name in WANTED} == {name: FILES[name] for name in WANTED}
    assert "303.0 kB" in told and told.rstrip().splitlines()[-1].startswith(f"{NAME}: 100 %")


def test_hugging_faces_own_library_finds_it_without_a_network(hub: Hub, tmp_path: Path) -> None:
    folder, _ = pulled(hub, tmp_path)
    assert snapshot_download(NAME, cache_dir=tmp_path, local_files_only=True) == str(folder)
    assert try_to_load_from_cache(NAME, "config.json", cache_dir=tmp_path) == str(folder / "config.json")


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"HF_HOME": "/a/b"},
        {"HF_HUB_CACHE": "~/c", "HF_HOME": "/a"},
        {"XDG_CACHE_HOME": "/x"},
        {"HUGGINGFACE_HUB_CACHE": "/old"},
        {"HF_HOME": "$HOME/d"},
    ],
)
def test_the_cache_is_where_that_library_has_it(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    said = runpy.run_path(str(constants.__file__))["HF_HUB_CACHE"]
    assert str(hugging_face_cache()) == said


def test_a_second_pull_downloads_nothing(hub: Hub, tmp_path: Path) -> None:
    pulled(hub, tmp_path)
    hub.asked.clear()
    pulled(hub, tmp_path)
    assert hub.ranges() == [] and [one.path for one in hub.asked if one.method == "GET"] == [
        f"/api/models/{NAME}/revision/main"
    ]


def test_a_connection_that_breaks_is_resumed_at_once(hub: Hub, tmp_path: Path) -> None:
    del hub.repositories[NAME].files["tokenizer.json"]
    hub.cut_after = [100_000, 50_000]
    folder, _ = pulled(hub, tmp_path)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert hub.ranges() == ["bytes=0-", "bytes=100000-", "bytes=150000-"]


def test_a_download_that_was_given_up_is_resumed_by_the_next(hub: Hub, tmp_path: Path) -> None:
    del hub.repositories[NAME].files["tokenizer.json"]
    hub.cut_after = [100_000, *[0] * (blob.ATTEMPTS - 1)]
    with pytest.raises(HubError, match="the same command resumes the download"):
        pulled(hub, tmp_path)
    assert not list(tmp_path.rglob("refs/*")) and not list(tmp_path.rglob("snapshots/*"))
    hub.asked.clear()
    folder, told = pulled(hub, tmp_path)
    assert hub.ranges() == ["bytes=100000-"] and "100.0 kB of them are here" in told
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS


def test_storage_that_knows_no_ranges_sends_it_from_the_beginning(hub: Hub, tmp_path: Path) -> None:
    hub.ignores_range, hub.cut_after = True, [100_000]
    folder, told = pulled(hub, tmp_path)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert told.rstrip().splitlines()[-1].startswith(f"{NAME}: 100 %, 303.0 kB of 303.0 kB")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_file_that_arrives_damaged_is_refused_and_removed(hub: Hub, tmp_path: Path, name: str) -> None:
    hub.corrupts = True
    with pytest.raises(HubError, match=r"model.safetensors|tokenizer.json") as refusal:
        pulled(hub, tmp_path)
    assert "arrived damaged and was removed: pull again" in str(refusal.value)
    assert not list(tmp_path.rglob("snapshots/*")) and not list(tmp_path.rglob("refs/*"))
    hub.corrupts = False
    folder, _ = pulled(hub, tmp_path)
    assert (folder / name).read_bytes() == FILES[name]


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_file_that_was_damaged_on_the_disk_is_replaced(hub: Hub, tmp_path: Path, name: str) -> None:
    folder, _ = pulled(hub, tmp_path)
    (folder / name).resolve().write_bytes(b"x" * len(FILES[name]))
    folder, told = pulled(hub, tmp_path)
    assert (folder / name).read_bytes() == FILES[name] and "100 %" in told


def test_a_file_larger_than_the_hub_says_is_refused_before_it_fills_the_disk(hub: Hub, tmp_path: Path) -> None:
    hub.adds = b"x" * 1_000_000
    with pytest.raises(HubError, match="is larger than the hub says"):
        pulled(hub, tmp_path)
    assert max(path.stat().st_size for path in tmp_path.rglob("*.incomplete")) <= len(WEIGHTS)


def test_a_disk_without_room_is_told_before_anything_is_downloaded(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 1_000_000))  # type: ignore[attr-defined]
    with pytest.raises(HubError, match=r"needs 303.0 kB more, 1.0 MB are free in .*set HF_HUB_CACHE"):
        pulled(hub, tmp_path)
    assert hub.ranges() == []


def test_a_second_pull_of_the_same_model_at_the_same_time_is_refused(hub: Hub, tmp_path: Path) -> None:
    with Pull(hub.url, tmp_path, NAME)._locked(), pytest.raises(HubError, match="another process downloads"):  # pyright: ignore[reportPrivateUsage]
        pulled(hub, tmp_path)


def test_a_gated_model_wants_a_token_and_storage_never_sees_it(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repositories[NAME].needs, hub.repositories[NAME].is_gated = "hf_secret", True
    with pytest.raises(HubError, match=f"is gated: accept its terms at {hub.url}/{NAME}, then set HF_TOKEN"):
        pulled(hub, tmp_path)
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    with pytest.raises(HubError, match="is gated"):
        pulled(hub, tmp_path)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.asked.clear()
    folder, _ = pulled(hub, tmp_path)
    assert files_in(folder) == WANTED
    tokens = {one.path.startswith("/storage/"): one.token for one in hub.asked}
    assert tokens == {False: "Bearer hf_secret", True: None}


def test_a_model_that_is_not_there_or_private(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(HubError, match="no model owner/nothing for this user: check the name, or set HF_TOKEN"):
        pulled(hub, tmp_path, "owner/nothing")


@pytest.mark.parametrize(
    ("name", "revision", "sentence"),
    [
        (NAME, "v9", "has no such revision"),
        (NAME, "../../x", "is not a revision"),
        ("a/b/c", "main", "is no Hugging Face id: it reads `owner/name`"),
        ("../x", "main", "is no Hugging Face id"),
    ],
)
def test_names_that_mean_nothing(hub: Hub, tmp_path: Path, name: str, revision: str, sentence: str) -> None:
    with pytest.raises(HubError, match=sentence):
        pulled(hub, tmp_path, name, revision)


@pytest.mark.parametrize(
    ("status", "sentence"),
    [(500, "failed (500)"), (403, "refused access"), (429, "has reached its rate limit (429)")],
)
def test_a_hub_in_trouble(hub: Hub, tmp_path: Path, status: int, sentence: str) -> None:
    hub.status = status
    with pytest.raises(HubError) as refusal:
        pulled(hub, tmp_path)
    assert sentence in str(refusal.value)


def test_a_hub_that_is_away(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(HubError, match="cannot be reached"):
        Pull("http://127.0.0.1:9", tmp_path, NAME).run(PlainTransfer(NAME, io.StringIO()))


def test_a_cache_that_cannot_be_written(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HubError, match="cannot write to"):
        pulled(hub, tmp_path / "file")


def test_paths_that_lead_elsewhere_are_never_written() -> None:
    nasty = ["../up.json", "/etc/x.json", "a/../../b.json", "a\\b.json", "x" * 600 + ".json", ""]
    files = [HubFile(path, 1) for path in ["model.safetensors", *nasty]]
    assert [file.path for file in needed(NAME, files)] == ["model.safetensors"]


def test_mistrals_own_format_is_left_where_it_is_a_second_copy() -> None:
    both = [HubFile(path, 1) for path in ("consolidated.safetensors", "model-1.safetensors", "tekken.json")]
    assert [file.path for file in needed(NAME, both)] == ["model-1.safetensors", "tekken.json"]
    assert [file.path for file in needed(NAME, [both[0], both[2]])] == ["consolidated.safetensors", "tekken.json"]


@pytest.mark.parametrize(
    ("paths", "sentence"),
    [
        (["pytorch_model.bin", "config.json"], "Python pickles only"),
        (["m-q4.gguf"], "as GGUF only"),
        (["README.md"], "has no weights"),
    ],
)
def test_a_repository_without_safe_weights_is_refused(paths: list[str], sentence: str) -> None:
    with pytest.raises(HubError, match=sentence):
        needed(NAME, [HubFile(path, 1) for path in paths])

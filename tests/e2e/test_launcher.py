"""The launcher as a user meets it: its commands, and what remains after every way to die."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from deployments.local.instance import Instance
from deployments.local.processes import leftovers
from deployments.local.processes.ports import is_free
from tests.launched import COMMAND, Launched, launched, service_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

DEMO_MODEL = Path(__file__).parents[2] / "demo_model" / "weights"
MODELS = [{"id": "echo", "kind": "scripted", "tokens": 4}]
RECOVERY_S = 180.0  # Ray anew takes 15 s on an idle machine


@pytest.fixture(scope="module")
def service() -> Generator[Launched]:
    """A running service with its page, which the tests here may hurt but must leave running."""
    with launched(service_file(MODELS, {}), page=True) as running:
        yield running


def test_the_status_names_addresses_parts_models_and_versions(service: Launched) -> None:
    status = service.status()
    assert status["running"] is True
    assert status["phase"] == "ready"
    assert status["addresses"]["api"] == f"{service.url}/v1"
    assert status["addresses"]["page"] == service.page
    assert status["parts"]["api"] == status["parts"]["page"] == "answers"
    assert status["models"]["model-echo"]["status"] == "HEALTHY"
    assert status["versions"]["ray"] == "2.60.0"


def test_a_second_start_in_the_same_folder_is_refused(service: Launched) -> None:
    result = _fails(service, "up", "--detach")
    assert f"process {service.status()['pid']} already runs launcher" in result
    assert "make stop" in result


def test_a_port_in_use_is_named_with_its_holder_and_the_remedy(service: Launched, tmp_path: Path) -> None:
    port = int(service.environment["CHATLLM_PORT"])
    other = {**service.environment, "CHATLLM_STATE": str(tmp_path / "other")}
    result = _fails(Launched(tmp_path, other, "", "", ""), "up")
    assert f"port {port} is in use by haproxy (process" in result
    assert "choose another --port" in result


def test_a_key_is_printed_alone_works_at_once_and_not_after_its_revocation(service: Launched) -> None:
    printed = service.chatllm("keys", "create", "short-lived")
    assert re.fullmatch(r"sk-chatllm-[\w-]{43}\n", printed)
    assert _models(service, printed.strip()) == 200
    assert "short-lived" in service.chatllm("keys", "list")
    assert printed.strip() not in service.chatllm("keys", "list")
    service.chatllm("keys", "revoke", "short-lived")
    _eventually(lambda: _models(service, printed.strip()) == 401, timeout_s=10)


def test_the_first_key_and_the_token_can_be_read_by_their_owner_alone(service: Launched) -> None:
    state = Path(service.environment["CHATLLM_STATE"])
    for name in ("api.key", "ray.token"):
        assert (state / name).stat().st_mode & 0o777 == 0o600
    assert _models(service, (state / "api.key").read_text().strip()) == 200


def test_the_page_opens_with_a_link_and_to_no_other_account(service: Launched) -> None:
    assert httpx.get(service.page, timeout=10).status_code == 403
    with httpx.Client(timeout=10, follow_redirects=True) as browser:
        assert browser.get(link := service.page_link()).status_code == 200
        assert httpx.get(link, timeout=10).status_code == 403
        victim = _victim(service, None)
        victim.kill()
        victim.wait(10)
        _eventually(lambda: _is_whole(service), timeout_s=RECOVERY_S)
        assert browser.get(service.page).status_code == 200
    assert "chatllm link" in service.chatllm("status")
    assert (_state(service) / "page").stat().st_mode & 0o777 == 0o700


def test_no_secret_stands_in_a_log(service: Launched) -> None:
    state = Path(service.environment["CHATLLM_STATE"])
    secret = (state / "api.key").read_text().strip()
    link = service.page_link()
    cookie = httpx.get(link, timeout=10).headers["set-cookie"].partition("=")[2].partition(";")[0]
    secrets = (secret, link.partition("=")[2], cookie)
    _respond(service, "a prompt that is nobody's business")

    def logs() -> list[str]:
        folders = (state / "logs", state / "logs/ray")  # a link, which rglob does not follow
        return [path.read_text(errors="replace") for f in folders for path in f.rglob("*") if path.is_file()]

    _eventually(lambda: any("request id=" in log for log in logs()), timeout_s=10)  # the ingress's is among them
    assert not any(said in log for said in (*secrets, "nobody's business") for log in logs())


def test_nothing_listens_beyond_this_machine_without_a_token(service: Launched) -> None:
    """Replicas speak gRPC to each other on every interface; they ask for Ray's token there."""
    exposed = {
        connection.laddr.port
        for pid in _processes(service, "ray")
        for connection in psutil.Process(pid).net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and not connection.laddr.ip.endswith(("127.0.0.1", "::1"))
    }
    assert len(exposed) <= 3, "one per replica"
    assert {_grpc_answer(port) for port in exposed} == {"UNAUTHENTICATED"}


@pytest.mark.parametrize(
    ("part", "program"), [("postgres", "postgres"), ("valkey", "valkey-server"), ("page", None), ("haproxy", "haproxy")]
)
def test_a_killed_part_comes_back(service: Launched, part: str, program: str | None) -> None:
    conversation = _create_conversation(service)
    victim = _victim(service, program)
    victim.kill()
    victim.wait(10)
    # While Postgres reads its log again, a conversation is a 503.
    _eventually(lambda: _is_whole(service) and _conversation(service, conversation) == 200, timeout_s=RECOVERY_S)
    assert _victim(service, program).pid != victim.pid


def test_a_part_that_cannot_be_started_again_is_named_with_the_reason_and_tried_again(service: Launched) -> None:
    log = _state(service) / "logs/page.log"
    log.rename(log.with_suffix(".kept"))
    log.mkdir()  # a process whose output has nowhere to go cannot be started
    _victim(service, None).kill()
    try:
        _eventually(lambda: "IsADirectoryError" in service.status()["troubles"].get("Page", ""), timeout_s=30)
        assert "Page is down and does not start again: IsADirectoryError" in service.chatllm("status")
    finally:
        log.rmdir()
    _eventually(lambda: _is_whole(service) and service.status()["troubles"] == {}, timeout_s=RECOVERY_S)
    told = (_state(service) / "logs/launcher.log").read_text()
    assert "a server died and is started again server=page returncode=-9" in told
    assert "a server does not start server=page reason=" in told


@pytest.mark.parametrize("program", ["gcs_server", "raylet", "deployments.local.ray.process"])
def test_ray_is_started_again_when_it_falls(service: Launched, program: str) -> None:
    before = set(_processes(service, "ray"))
    victim = next(psutil.Process(pid) for pid in before if program in " ".join(psutil.Process(pid).cmdline()))
    victim.kill()
    _eventually(lambda: not before & set(_processes(service, "ray")) and _is_whole(service), timeout_s=RECOVERY_S)


def test_after_a_kill_of_the_launcher_nothing_remains_and_the_next_start_has_everything(service: Launched) -> None:
    conversation = _create_conversation(service)
    os.kill(service.status()["pid"], signal.SIGKILL)
    # The kernel tells the parts; they end without anyone's help.
    _eventually(lambda: not _remains(service), timeout_s=30)
    assert _all_ports_free(service)
    service.chatllm("up", "--detach", "--wait", "--config", str(service.folder / "service.yaml"), timeout_s=240)
    assert _conversation(service, conversation) == 200


def test_down_leaves_no_process_no_port_and_no_lock(service: Launched) -> None:
    conversation = _create_conversation(service)
    first = _respond(service, "one two")
    temporary = {Path(psutil.Process(pid).environ()["TMPDIR"]) for pid in _processes(service, "ray")}
    assert temporary and all(folder.is_dir() for folder in temporary)
    assert service.chatllm("down") == "Stopped.\n"
    assert _remains(service) == []
    assert not any(folder.exists() for folder in temporary)
    assert _all_ports_free(service)
    assert service.chatllm("down") == "Nothing was running.\n"
    assert "local" in service.chatllm("keys", "list"), "keys work while nothing runs"
    service.chatllm("up", "--detach", "--wait", "--config", str(service.folder / "service.yaml"), timeout_s=240)
    assert _conversation(service, conversation) == 200
    # Two words, an answer of four, and one more: the chain goes on as if nothing had happened.
    assert _respond(service, "three", previous_response_id=first["id"])["usage"]["input_tokens"] == 2 + 4 + 1


def test_a_stopped_service_is_reported_as_such(tmp_path: Path) -> None:
    environment = {**os.environ, "CHATLLM_STATE": str(tmp_path)}
    result = subprocess.run(
        [*COMMAND, "status", "--json"], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 3
    assert json.loads(result.stdout)["running"] is False


def test_a_model_that_vllm_cannot_load_is_one_sentence(tmp_path: Path) -> None:
    """The engine's own first error, which it raises in another process, after one try."""
    weights = Path(shutil.copytree(DEMO_MODEL, tmp_path / "damaged"))
    config = json.loads((weights / "config.json").read_text())
    (weights / "config.json").write_text(json.dumps({**config, "intermediate_size": 1024}))
    engine = {"model": str(weights), "enforce_eager": True, "max_model_len": 512}
    damaged = {"id": "damaged", "kind": "vllm", "engine": engine}
    expected = pytest.raises(AssertionError, match="The weights do not fit the model's config")
    with expected as caught, launched(service_file([damaged], {})):
        pass
    assert "Traceback" not in str(caught.value)


def test_two_models_that_are_too_large_together_are_refused_before_anything_starts(tmp_path: Path) -> None:
    models = [{"id": name, "kind": "vllm", "engine": {"model": _hollow(tmp_path / name)}} for name in ("one", "two")]
    (tmp_path / "service.yaml").write_text(yaml.safe_dump(service_file(models, {})))
    state = tmp_path / "state"
    began = time.monotonic()
    said = _fails(
        Launched(tmp_path, {**os.environ, "CHATLLM_STATE": str(state)}, "", "", ""),
        "up",
        f"--config={tmp_path / 'service.yaml'}",
    )
    assert time.monotonic() - began < 60
    assert re.search(r"GiB of memory are available, this configuration needs about 74\d\.\d GiB", said)
    assert "(one: weights 372.5, KV cache" in said and "; two: weights 372.5, KV cache" in said
    assert "or choose fewer models or a smaller model" in said
    assert not (state / "postgres").exists()


def test_a_model_that_is_not_there_is_refused_before_anything_starts(tmp_path: Path) -> None:
    missing = {"id": "missing", "kind": "vllm", "engine": {"model": str(tmp_path / "nothing-here")}}
    (tmp_path / "service.yaml").write_text(yaml.safe_dump(service_file([missing], {})))
    state = tmp_path / "state"
    service = Launched(tmp_path, {**os.environ, "CHATLLM_STATE": str(state)}, "", "", "")
    said = _fails(service, "up", f"--config={tmp_path / 'service.yaml'}")
    sentence = f"{tmp_path}/nothing-here does not exist: correct engine.model."
    assert said == f"chatllm: the model missing cannot be loaded: {sentence}\n"
    assert not (state / "postgres").exists()


def _hollow(folder: Path, parameters: int = 200_000_000_000) -> str:
    """Return a folder that looks like a model of so many parameters, and takes no space."""
    shutil.copytree(DEMO_MODEL, folder)
    header = json.dumps({"w": {"dtype": "BF16", "shape": [parameters], "data_offsets": [0, 2 * parameters]}}).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + 2 * parameters)
    return str(folder)


def _fails(service: Launched, *arguments: str) -> str:
    """Return what standard error says of a command that must fail, and must do so in one sentence."""
    result = subprocess.run(
        [*COMMAND, *arguments], env=service.environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 1
    assert result.stderr.startswith("chatllm: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def _state(service: Launched) -> Path:
    return Path(service.environment["CHATLLM_STATE"])


def _processes(service: Launched, *parts: str) -> list[int]:
    return list(leftovers.marked(_state(service), parts))


def _remains(service: Launched) -> list[str]:
    """Return the command lines of what still runs for this service: marked, or at work in its folder."""
    marked = set(_processes(service, "ray", "page"))
    found: list[str] = []
    for process in psutil.process_iter():
        try:
            command = " ".join(process.cmdline())
        except psutil.Error:  # gone, or a zombie, which is as good
            continue
        if process.pid in marked or str(_state(service)) in command:
            found.append(command)
    return found


def _all_ports_free(service: Launched) -> bool:
    names = ("CHATLLM_PORT", "CHATLLM_PAGE_PORT", "CHATLLM_DASHBOARD_PORT")
    return all(is_free(int(service.environment[name])) for name in names)


def _victim(service: Launched, program: str | None) -> psutil.Process:
    """Return the main process of a part: the page's if no program is named."""
    if program is None:
        return psutil.Process(_processes(service, "page")[0])
    launcher = Instance.read(_state(service))
    assert launcher is not None
    family = psutil.Process(launcher.pid).children(recursive=True)
    return next(process for process in family if process.name() == program)


def _is_whole(service: Launched) -> bool:
    try:
        ready = httpx.get(f"{service.url}/ready", timeout=2).status_code
        page = httpx.get(service.page, timeout=2).status_code
        return ready == _models(service, service.key) == 200 and page == 403  # it answers, though not to strangers
    except httpx.HTTPError:
        return False


def _models(service: Launched, key: str) -> int:
    return httpx.get(f"{service.url}/v1/models", headers={"authorization": f"Bearer {key}"}, timeout=10).status_code


def _create_conversation(service: Launched) -> str:
    headers = {"authorization": f"Bearer {service.key}"}
    return httpx.post(f"{service.url}/v1/conversations", json={}, headers=headers, timeout=10).json()["id"]


def _respond(service: Launched, text: str, **more: str) -> dict[str, Any]:
    body, headers = {"model": "echo", "input": text, **more}, {"authorization": f"Bearer {service.key}"}
    answer = httpx.post(f"{service.url}/v1/responses", json=body, headers=headers, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()


def _conversation(service: Launched, name: str) -> int:
    headers = {"authorization": f"Bearer {service.key}"}
    return httpx.get(f"{service.url}/v1/conversations/{name}", headers=headers, timeout=10).status_code


def _grpc_answer(port: int) -> str:
    """Return the status with which a replica answers a call that has no token."""
    import grpc
    from ray.serve.generated import serve_pb2, serve_pb2_grpc

    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub: Any = serve_pb2_grpc.ASGIServiceStub(channel)
        try:
            stub.HandleRequest(serve_pb2.ASGIRequest(), timeout=5)
        except grpc.RpcError as error:
            return error.code().name
    return "OK"


def _eventually(holds: Callable[[], bool], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {timeout_s:.0f} s"
        time.sleep(0.25)

"""The page's process, seen from outside: who may ask, and what comes back."""

import socket
from collections.abc import Iterator

import httpx
import pytest

from tests.ui.process import page_process
from tests.ui.stand_in import KEY


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with page_process(f"http://127.0.0.1:{port}", tmp_path_factory.mktemp("page")) as address:
        yield address


def test_the_page_answers_without_a_service(address: str) -> None:
    answer = httpx.get(address, timeout=10)
    assert answer.status_code == 200 and "The service is starting" in answer.text


def test_foreign_content_is_forbidden_by_the_browser_too(address: str) -> None:
    headers = httpx.get(address, timeout=10).headers
    policy = headers["content-security-policy"]
    assert "img-src 'self' data:" in policy and "frame-ancestors 'none'" in policy and "object-src 'none'" in policy
    assert headers["referrer-policy"] == "no-referrer" and headers["x-content-type-options"] == "nosniff"


def test_a_local_page_answers_to_local_names_only(address: str) -> None:
    assert httpx.get(address, headers={"Host": "evil.example"}, timeout=10).status_code == 400
    assert httpx.get(address, headers={"Host": "localhost:8080"}, timeout=10).status_code == 200


def test_the_key_is_not_in_the_page(address: str) -> None:
    assert KEY not in httpx.get(address, timeout=10).text


@pytest.mark.parametrize("path", ["/c/nonsense", "/c/..%2f..%2fhealth", "/c/conv_%00", "/c/conv_a%2fb"])
def test_no_address_reaches_another_resource_of_the_service(address: str, path: str) -> None:
    answer = httpx.get(address + path, timeout=10)
    assert answer.status_code == 404 or "Hello!" in answer.text

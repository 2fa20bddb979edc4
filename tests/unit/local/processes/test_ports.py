"""Ports: which are free, and what is said of those that are not."""

import os
import socket

import pytest

from deployments.local.processes import ports
from deployments.local.state import LauncherError


@pytest.fixture
def taken() -> int:
    """A port on which this process listens for the length of a test."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_port_in_use_is_not_free(taken: int) -> None:
    assert not ports.is_free(taken)
    assert not ports.is_free(taken, ""), "one interface is enough to be in the way of all"


def test_the_sentence_names_port_program_and_option(taken: int) -> None:
    with pytest.raises(LauncherError) as caught:
        ports.require_free({"page-port": taken})
    text = str(caught.value)
    assert f"port {taken} is in use by" in text
    assert f"(process {os.getpid()})" in text
    assert "--page-port" in text


def test_a_port_just_left_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client, server.accept()[0] as accepted:
            accepted.close()  # the server's side closes first and lingers in TIME_WAIT
            assert client.recv(1) == b""
    assert ports.is_free(port)
    ports.require_free({"port": port})


def test_a_block_is_free_and_out_of_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    first = ports.free_block(64)
    assert first in ports.INNER_PORTS
    assert first + 64 <= ports.INNER_PORTS.stop
    assert all(ports.is_free(port, "") for port in range(first, first + 64))


def test_a_block_never_holds_a_port_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    first = ports.free_block(4)
    monkeypatch.setattr(ports, "INNER_PORTS", range(first, first + 4 + 1))
    with socket.create_server(("", first + 2)), pytest.raises(LauncherError, match="no 4 neighbouring ports"):
        ports.free_block(4)

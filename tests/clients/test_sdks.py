"""SDKs: each does its quickstart, a stream, a tool loop and a second turn."""

from tests.clients.conftest import Run


def test_the_ai_sdk(node_client: Run) -> None:
    said = node_client("ai_sdk.mjs")
    assert said["first"] == "hello there " * 4
    assert len(said["pieces"]) == 8
    assert said["calls"] == [["weather", {"city": "Bonn"}]]
    assert said["looped"].startswith("Sunny in Bonn ")
    assert {"type", "id"} == set(said["second_input"][1]), "the second turn refers to the first one's item"
    assert said["second_input"][1]["type"] == "item_reference"
    assert said["read"] == 2 + 8 + 2
    assert said["second"] == "and again " * 4


def test_the_agents_sdk(python_client: Run) -> None:
    said = python_client("agents_sdk.py")
    assert said["first"] == "hello there " * 4
    assert said["streamed"] == "hello stream " * 4
    assert said["deltas"] == 8
    assert said["looped"].startswith("Sunny in Bonn ")
    assert said["second"] == "and again " * 4
    assert said["read"] == 2 + 2 + 8 + 2

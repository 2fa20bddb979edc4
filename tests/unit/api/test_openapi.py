"""The API's description of itself: complete, valid, and a page that needs nothing but itself."""

import re
from typing import Any

import pytest
from fastapi.routing import APIRoute

from deployments.api.schemas.openapi import described
from deployments.api.server import build_http
from deployments.config import Current, Settings
from tests.unit.api.conftest import Service

UNDESCRIBED = {"/docs", "/openapi.json"}
BODILESS = {
    ("post", "/v1/responses/{response}/cancel"),
    ("post", "/v1/batches/{batch}/cancel"),
    ("post", "/v1/admin/users/{user}/password"),
}
"""Posts that take no body."""

app = build_http(lambda: pytest.fail("nothing is opened"), Current(Settings()))
document = described(app)
operations = [
    (method, path, operation) for path, methods in document["paths"].items() for method, operation in methods.items()
]


def test_every_route_is_described_at_one_of_its_paths() -> None:
    routes = [route for route in app.routes if isinstance(route, APIRoute) and route.path not in UNDESCRIBED]
    shown = [route for route in routes if route.include_in_schema]
    assert {re.sub(r":\w+}", "}", route.path) for route in shown} == set(document["paths"])
    assert {route.endpoint for route in routes} == {route.endpoint for route in shown}


@pytest.mark.parametrize(("method", "path", "operation"), operations, ids=lambda part: str(part)[:60])
def test_a_route_says_what_it_takes_and_gives(method: str, path: str, operation: dict[str, Any]) -> None:
    assert operation["description"], "a docstring is missing"
    assert operation["tags"]
    content = operation["responses"]["200"].get("content", {})
    assert content, "openapi_extra=documented(...) with an answer is missing"
    assert all(media.get("schema") or media.get("itemSchema") for media in content.values()), (
        "the answer's shape is missing"
    )
    if method == "post" and (method, path) not in BODILESS:
        (body,) = operation["requestBody"]["content"].values()
        assert body["example"], "documented(...) needs an example"
        assert body["schema"]
    assert "x-request-id" in operation["responses"]["500"]["headers"]
    assert ("401" in operation["responses"]) == (operation.get("security") != [])
    assert "422" not in operation["responses"]


def references(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*(references(part) for part in node.values()))
    return set().union(*(references(part) for part in node)) if isinstance(node, list) else set()


def test_every_reference_leads_somewhere() -> None:
    for reference in references(document):
        node = document
        for part in reference.removeprefix("#/").split("/"):
            assert part in node, reference
            node = node[part]


def test_names_of_operations_are_unique() -> None:
    ids = [operation["operationId"] for _, _, operation in operations]
    assert len(ids) == len(set(ids))


async def test_the_page_shows_every_route_and_loads_nothing(service: Service) -> None:
    for path in UNDESCRIBED:
        response = await service.http.get(path, headers={"authorization": ""})
        assert response.status_code == 200
        assert "default-src 'none'" in response.headers["content-security-policy"]
    assert (await service.http.get("/openapi.json")).json() == document
    page = (await service.http.get("/docs")).text
    assert "<script" not in page
    assert not re.search(r"(?:src|href)=\"(?!#|openapi\.json)|@import|url\(", page)
    for method, path, _ in operations:
        assert f"<b>{method.upper()}</b> {path}" in page
    named = set(re.findall(r'href="#(\w+)"', page))
    assert named <= set(re.findall(r'id="(\w+)"', page))

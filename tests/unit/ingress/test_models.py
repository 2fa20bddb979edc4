"""What `/v1/models` tells of a model."""

from deployments.config import ScriptedModel
from tests.unit.ingress.conftest import running


async def test_a_model_tells_what_a_message_may_hold() -> None:
    seeing = ScriptedModel(id="seeing", kind="scripted", input_modalities=("text", "image"))
    reading = ScriptedModel(id="reading", kind="scripted")
    async with running(seeing, reading, aliases={"gpt-4o": "seeing"}) as service:
        listed = (await service.http.get("/v1/models")).json()["data"]
        assert {model["id"]: model["input_modalities"] for model in listed} == {
            "seeing": ["text", "image"],
            "reading": ["text"],
            "gpt-4o": ["text", "image"],
        }
        one = (await service.http.get("/v1/models/gpt-4o")).json()
        assert (one["id"], one["alias_of"], one["input_modalities"]) == ("gpt-4o", "seeing", ["text", "image"])

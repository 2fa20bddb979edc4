"""LangChain's own standard tests of a chat model, with `ChatOpenAI` in front of this service."""

from collections.abc import Generator
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests

from deployments.config import ScriptedModel
from tests.integration.serving import Served, served_aside


@pytest.fixture(scope="module", autouse=True)
def service(postgres_url: str, valkey_url: str) -> Generator[Served]:
    models = [ScriptedModel(id=name, kind="scripted", tokens=32) for name in ("quick", "other")]
    with served_aside(postgres_url, valkey_url, *models) as service, pytest.MonkeyPatch.context() as environment:
        environment.setenv("OPENAI_BASE_URL", f"{service.url}/v1")
        environment.setenv("OPENAI_API_KEY", service.key)
        yield service


@pytest.mark.asyncio(loop_scope="module")  # ChatOpenAI keeps its connections from one test to the next
@pytest.mark.filterwarnings(
    "ignore:.*is marked with '@pytest.mark.asyncio' but it is not an async function",  # the others of the class are
    # openai's type for a parsed answer is generic, and LangChain dumps it without saying of what.
    "ignore:Pydantic serializer warnings:UserWarning",
    # One of the tests hands over such a schema, and means it.
    "ignore:Received a Pydantic BaseModel V1 schema:UserWarning",
)
class TestChatOpenAI(ChatModelIntegrationTests):
    """All but what the suite asks to be told of: images, sound, documents and Anthropic's shapes, which go unread."""

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "quick", "temperature": 0, "max_retries": 0, "timeout": 20, "stream_usage": True}

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str:
        return "other"

"""vLLM's own reading of a chat request, without an engine: its types, its parser, a chat template and the window.

The demo model's tokenizer counts; the template is the demo model's, or another's.
"""

import warnings
from collections.abc import AsyncGenerator
from functools import cache
from types import SimpleNamespace
from typing import Any

import orjson
from pydantic import ValidationError

from demo_model import WEIGHTS
from deployments.config import ScriptedModel
from deployments.errors import BadRequest
from deployments.models.protocol import Failed, Message, ModelRequest
from deployments.models.scripted.replica import ScriptedReplica

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # vLLM's own imports
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.exceptions import VLLMClientError
    from vllm.renderers import renderer_from_config

    from deployments.models.vllm.chat_renderer import ChatRenderer, render_beside_the_loop
    from deployments.models.vllm.engine import Engine
    from deployments.models.vllm.long_texts import LongTexts

WINDOW = 2048


@cache
def _parts() -> tuple[Any, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # vLLM's own
        config = AsyncEngineArgs(model=str(WEIGHTS), max_model_len=WINDOW, enforce_eager=True).create_engine_config()
        renderer = renderer_from_config(config)
        render_beside_the_loop(renderer)
        return config.model_config, renderer


class Reader:
    """Reads chats as a replica of the demo model does, with its chat template or another."""

    def __init__(self, template: str | None = None) -> None:
        config, renderer = _parts()
        self.renderer = ChatRenderer(
            config,
            renderer,
            request_logger=None,
            chat_template=template,
            chat_template_content_format="auto",
            enable_auto_tools=True,
            tool_parser="hermes",
        )
        self.renderer.warmup()
        client = SimpleNamespace(model_config=config, renderer=renderer)
        counting = LongTexts(renderer.get_tokenizer(), config.max_model_len)
        self._engine: Any = SimpleNamespace(client=client, counting=counting)  # what trimming needs of an engine

    async def read(self, body: dict[str, Any], trim: bool = False) -> str:
        """Return the prompt that a model would get; raises pydantic's ValidationError, or vLLM's errors."""
        if trim:
            body = {**body, "messages": Engine.trim(self._engine, body)}
        request = ChatCompletionRequest.model_validate(body)
        rendered = await self.renderer.render_chat(request)
        if not isinstance(rendered, tuple):
            raise ValueError(rendered.error.message)
        prompt: dict[str, Any] = dict(rendered[1][0])
        text: str = self.renderer.renderer.get_tokenizer().decode(prompt["prompt_token_ids"])
        return text


class ReadingReplica(ScriptedReplica):
    """A scripted model that answers only what vLLM can read, and keeps the prompts."""

    def __init__(self, model: ScriptedModel, reader: Reader) -> None:
        super().__init__(model)
        self._reader = reader
        self.prompts: list[str] = []

    async def generate(self, model_request: ModelRequest) -> AsyncGenerator[Message]:
        """Yield the scripted answer, or why vLLM refuses the request."""
        if model_request.endpoint == "chat":
            try:
                self.prompts.append(await self._reader.read(orjson.loads(model_request.body), model_request.trim))
            except (ValidationError, VLLMClientError, ValueError) as error:
                yield Failed(BadRequest(f"vLLM cannot read this: {error}"))
                return
        async for message in super().generate(model_request):
            yield message

"""vLLM's renderer of chats, for chat templates that allow less than OpenAI's API does. Imports vllm."""

import asyncio
import logging
from typing import Any

from vllm.exceptions import VLLMClientError
from vllm.renderers.online_renderer import OnlineRenderer
from vllm.renderers.params import ChatParams

from deployments.models.prompts import size_of
from deployments.models.vllm.message_forms import FORMS, ChatMessage, Form, with_media_noted, with_one_system_message
from deployments.models.vllm.tool_arguments import with_readable_arguments

log = logging.getLogger(__name__)

REFUSALS = (VLLMClientError, ValueError)

INSTRUCTIONS = ("alpha", "bravo", "charlie")
FEW_PIECES = 1_000
"""Messages and parts that are read in the event loop: it is occupied by them for 3 ms at most."""

PROBE: list[ChatMessage] = [
    {"role": "system", "content": INSTRUCTIONS[0]},
    {"role": "system", "content": INSTRUCTIONS[1]},
    {"role": "user", "content": "delta"},
    {"role": "assistant", "content": "echo"},
    {"role": "system", "content": INSTRUCTIONS[2]},
    {"role": "user", "content": "foxtrot"},
]
"""A conversation that shows whether a template prints every system message."""


class ChatRenderer(OnlineRenderer):
    """Renders messages as they are; where the template refuses them, in the first form that it takes.

    A template that silently leaves out all system messages but the first gets them as one.
    """

    _joins_instructions = False

    def warmup(self) -> None:
        """Warm up as vLLM does, and find out whether the template prints every system message."""
        super().warmup()
        joined = with_one_system_message(PROBE)
        self._joins_instructions = not self._prints_instructions(PROBE) and self._prints_instructions(joined)
        if self._joins_instructions:
            log.info("the chat template takes one system message: several are joined")

    async def preprocess_chat(
        self, request: Any, messages: list[Any], *rest: Any, **named: Any
    ) -> tuple[list[Any], list[Any]]:
        """Return the prompt; raises what vLLM raises for the messages as they are if no form helps."""
        are_plain = all(isinstance(message, dict) for message in messages)
        if are_plain:
            messages = await _in(with_readable_arguments, messages)
        if are_plain and not self.model_config.is_multimodal_model:
            messages = await _in(with_media_noted, messages)
        if are_plain and self._joins_instructions:
            messages = await _in(with_one_system_message, messages)
        try:
            return await super().preprocess_chat(request, messages, *rest, **named)
        except REFUSALS as error:
            if not _is_the_templates(error) or not are_plain:
                raise
            refusal: Exception = error
        for form in FORMS:
            try:
                return await super().preprocess_chat(request, await _in(form, messages), *rest, **named)
            except REFUSALS as error:
                if not _is_the_templates(error):
                    raise
        raise refusal

    def _prints_instructions(self, messages: list[ChatMessage]) -> bool:
        params = ChatParams(
            chat_template=self.chat_template,
            chat_template_content_format=self.chat_template_content_format,
            chat_template_kwargs={
                "add_generation_prompt": True,
                "tokenize": False,
                **self.default_chat_template_kwargs,
            },
        )
        try:
            _, prompt = self.renderer.render_messages(messages, params)  # type: ignore[arg-type] - dicts of its shape
        except (*REFUSALS, NotImplementedError):
            return False
        text = prompt.get("prompt")
        if not isinstance(text, str):
            text = self.renderer.get_tokenizer().decode(prompt.get("prompt_token_ids") or [])
        return all(word in text for word in INSTRUCTIONS)


def render_beside_the_loop(renderer: Any) -> None:
    """Let vLLM's renderer read many messages or parts in its thread, where it tokenizes, and not in the event loop."""
    in_the_loop, read = renderer.render_messages_async, renderer.render_messages
    bounded = getattr(renderer, "_render_with_timeout", None)

    async def render_messages_async(messages: list[Any], params: ChatParams) -> Any:
        if size_of(messages) <= FEW_PIECES:
            return await in_the_loop(messages, params)
        rendered = asyncio.get_running_loop().run_in_executor(renderer._executor, read, messages, params)
        return await (rendered if bounded is None else bounded(rendered))

    renderer.render_messages_async = render_messages_async


async def _in(form: Form, messages: list[Any]) -> list[Any]:
    """Return the messages in a form."""
    return form(messages) if size_of(messages) <= FEW_PIECES else await asyncio.to_thread(form, messages)


def _is_the_templates(error: Exception) -> bool:
    """Tell an error that was raised in a template or by a tokenizer that checks the order of messages."""
    return error.__cause__ is not None

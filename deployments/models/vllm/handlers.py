"""vLLM's handlers of OpenAI's endpoints, as far as a model supports them. Imports vllm."""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.chat_completion.serving import OpenAIServingChat
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.entrypoints.openai.completion.serving import OpenAIServingCompletion
from vllm.entrypoints.openai.models.serving import OpenAIServingModels
from vllm.entrypoints.pooling.classify.protocol import ClassificationCompletionRequest
from vllm.entrypoints.pooling.classify.serving import ServingClassification
from vllm.entrypoints.pooling.embed.protocol import EmbeddingChatRequest, EmbeddingCompletionRequest
from vllm.entrypoints.pooling.pooling.protocol import PoolingCompletionRequest
from vllm.entrypoints.pooling.pooling.serving import ServingPooling
from vllm.entrypoints.pooling.scoring.protocol import RerankRequest, ScoreDataRequest
from vllm.entrypoints.pooling.scoring.serving import ServingScores
from vllm.entrypoints.pooling.utils import enable_scoring_api
from vllm.entrypoints.serve.tokenize.protocol import DetokenizeRequest, TokenizeChatRequest, TokenizeCompletionRequest
from vllm.entrypoints.serve.tokenize.serving import ServingTokenization
from vllm.renderers.chat_utils import ChatTemplateConfig
from vllm.renderers.online_renderer import OnlineRenderer
from vllm.tasks import POOLING_TASKS, SupportedTask
from vllm.v1.engine.async_llm import AsyncLLM

from deployments.models.protocol import Endpoint
from deployments.models.vllm.embedding import Embedding
from deployments.models.vllm.plain_text import PlainTextChat
from deployments.models.vllm.speech import SpeechRequest, open_speech
from deployments.models.vllm.whole_answers import Completion

HANDLERS = (OnlineRenderer, OpenAIServingChat, OpenAIServingCompletion, ServingTokenization, ChatTemplateConfig)
"""What takes the options under `chat:`, each those that it knows, as vLLM's own server hands them out."""

OWN = frozenset(
    {
        "chat_template_config",
        "engine_client",
        "model_config",
        "models",
        "online_renderer",
        "renderer",
        "request_logger",
        "response_role",
        "self",
    }
)
"""Arguments of these that are not the configuration's."""


@dataclass(frozen=True, slots=True)
class Handler:
    """One endpoint of a model: the type of its request, and what answers it.

    `answer` returns an async generator of events, a pydantic model, or a Starlette
    response; an error is raised, or returned as vLLM's `ErrorResponse`.
    `chat_type` is the type of a request that has `messages`, where there are two.
    """

    request_type: type[BaseModel]
    answer: Callable[[Any], Awaitable[Any]]
    chat_type: type[BaseModel] | None = None

    def type_of(self, body: Mapping[str, Any]) -> type[BaseModel]:
        """Return the type by which to read `body`."""
        return self.chat_type if self.chat_type is not None and "messages" in body else self.request_type


def open_handlers(
    client: AsyncLLM,
    models: OpenAIServingModels,
    renderer: OnlineRenderer,
    options: Mapping[str, Any],
    tasks: tuple[SupportedTask, ...],
    max_audio_s: float,
) -> dict[Endpoint, Handler]:
    """Return the handlers for what the model can do: generate, embed, pool, classify, score, transcribe, tokenize.

    `options` are those of the chat handler; the others take what they know of them. `max_audio_s` is how much sound
    a recording may hold.
    """
    handlers = _tokenizing(models, renderer, options)
    if "generate" in tasks:
        handlers |= _generating(client, models, renderer, options)
    if any(task in POOLING_TASKS for task in tasks):
        handlers |= _pooling(client, models, options, tasks)
    if "transcription" in tasks:
        speech = open_speech(client, models, max_audio_s)
        handlers |= {endpoint: Handler(SpeechRequest, one.answer) for endpoint, one in speech.items()}
    return handlers


def _generating(
    client: AsyncLLM, models: OpenAIServingModels, renderer: OnlineRenderer, options: Mapping[str, Any]
) -> dict[Endpoint, Handler]:
    shared: dict[str, Any] = {"online_renderer": renderer, "request_logger": None}
    chat = PlainTextChat(client, models, "assistant", **shared, **known(options, OpenAIServingChat))
    completion = Completion(client, models, **shared, **known(options, OpenAIServingCompletion))
    return {
        "chat": Handler(ChatCompletionRequest, chat.create_chat_completion),
        "completion": Handler(CompletionRequest, completion.complete),
    }


def _tokenizing(
    models: OpenAIServingModels, renderer: OnlineRenderer, options: Mapping[str, Any]
) -> dict[Endpoint, Handler]:
    tokenization = ServingTokenization(
        models,
        renderer,
        **known(options, ServingTokenization),
    )

    async def tokenize(request: Any) -> Any:
        return await tokenization.create_tokenize(request, None)  # type: ignore[arg-type] - it only reads a header's id

    async def detokenize(request: Any) -> Any:
        return await tokenization.create_detokenize(request, None)  # type: ignore[arg-type]

    return {
        "tokenize": Handler(TokenizeCompletionRequest, tokenize, TokenizeChatRequest),
        "detokenize": Handler(DetokenizeRequest, detokenize),
    }


def _pooling(
    client: AsyncLLM, models: OpenAIServingModels, options: Mapping[str, Any], tasks: tuple[SupportedTask, ...]
) -> dict[Endpoint, Handler]:
    """Return what a model can do that pools, which depends on what it was trained for (vLLM's own conditions)."""
    template = ChatTemplateConfig(**known(options, ChatTemplateConfig))
    shared: dict[str, Any] = {"request_logger": None, "chat_template_config": template}
    task = client.model_config.get_pooling_task(tasks)
    pooling = ServingPooling(client, models, supported_tasks=tasks, **shared)
    handlers: dict[Endpoint, Handler] = {"pooling": Handler(PoolingCompletionRequest, pooling)}
    if task == "embed":
        embedding = Embedding(client, models, **shared)
        handlers["embedding"] = Handler(EmbeddingCompletionRequest, embedding, EmbeddingChatRequest)
    if task == "classify":
        classification = ServingClassification(client, models, **shared)
        handlers["classification"] = Handler(ClassificationCompletionRequest, classification)
    if enable_scoring_api(tasks, client.model_config):
        scores = ServingScores(client, models, supported_tasks=tasks, **shared)
        handlers |= {"rerank": Handler(RerankRequest, scores), "score": Handler(ScoreDataRequest, scores)}
    return handlers


def known(options: Mapping[str, Any], of: type) -> dict[str, Any]:
    """Return those of the options that a class takes."""
    return {name: options[name] for name in options.keys() & _taken(of)}


def check_options(options: Mapping[str, Any]) -> None:
    """Raise ValueError for an option under `chat:` that nothing takes: it would do nothing, in silence."""
    taken = {name for of in HANDLERS for name in _taken(of)}
    for name in options.keys() - taken:
        raise ValueError(f"the option {name!r} under 'chat:' is unknown; there are: {', '.join(sorted(taken))}")


def _taken(of: type) -> set[str]:
    return set(inspect.signature(of).parameters) - OWN

"""The models of the service file: the `args:` of their applications, or `models:` under the `args:` of the only one."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, TypeAdapter, field_validator, model_validator

from deployments.config.model_base import VLLM_MAX_NUM_SEQS, ModelBase
from deployments.config.provider_model import ProviderModel
from deployments.config.section import PositiveSeconds, Section

ADAPTER_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
COUNTS = frozenset(
    {
        "tensor_parallel_size",
        "pipeline_parallel_size",
        "data_parallel_size",
        "max_num_seqs",
        "max_num_batched_tokens",
        "kv_cache_memory_bytes",
    }
)
"""Engine arguments that are whole numbers above 0."""


class LoRAModule(Section):
    """A LoRA adapter of a model, which the API offers as a model of its own."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        description="Its name; the API calls it `<id of the model>:<name>`.",
    )
    path: str = Field(min_length=1, description="Folder that peft saved, or the Hugging Face id of a downloaded one.")


class AdapterLoading(Section):
    """Which LoRA adapters an administrator may load into a model while it serves."""

    folders: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        default=(), description="Folders below which adapters may lie, the same on every node; none outside is read."
    )
    hub: bool = Field(
        default=False,
        description="Allow Hugging Face ids; what is not on the node yet is downloaded, unless HF_HUB_OFFLINE is set.",
    )
    max_adapters: int = Field(default=4, ge=1, le=256, description="Adapters that may be loaded at once.")
    max_rank: Literal[8, 16, 32, 64, 128, 256, 320, 512] = Field(
        default=16, description="The highest rank; room for it is taken in every layer."
    )
    max_bytes: int = Field(default=256 << 20, ge=1024, description="Bytes that an adapter's files may have.")


class VLLMModel(ModelBase):
    """A model that vLLM runs inside the replica."""

    kind: Literal["vllm"] = "vllm"
    engine: dict[str, Any] = Field(description="Any field of vLLM's AsyncEngineArgs; `model` is required.")
    chat: dict[str, Any] = Field(
        default_factory=dict,
        description="Options of vLLM's chat handler: chat_template, tool_parser, enable_auto_tools, …",
    )
    environment: dict[str, str] = Field(
        default_factory=dict, description="Environment of the engine, e.g. VLLM_CPU_KVCACHE_SPACE (GiB)."
    )
    max_audio_s: PositiveSeconds = Field(
        default=1500.0,
        le=36_000,
        description="Seconds of sound that a recording may hold which is to be transcribed (25 minutes at OpenAI).",
    )
    lora_modules: tuple[LoRAModule, ...] = Field(
        default=(),
        description="LoRA adapters, each with `name` and `path` (a folder that peft saved, or a Hugging Face id that "
        "is downloaded); each is a model of the API, `<id>:<name>`.",
    )
    adapter_loading: AdapterLoading | None = Field(
        default=None,
        description="Let an administrator load and unload LoRA adapters while the service runs; not set: none.",
    )
    grammar_cpu_s: PositiveSeconds = Field(
        default=10.0,
        description="Seconds of CPU time that compiling one grammar (structured outputs, tools) may take; "
        "else it is a 400.",
    )

    @property
    def max_sequences(self) -> int:
        """What is set as `max_num_seqs`, or the least that vLLM may choose."""
        return int(self.engine.get("max_num_seqs") or VLLM_MAX_NUM_SEQS)

    @property
    def output_modalities(self) -> tuple[str, ...]:
        """Embeddings alone where the engine pools."""
        return ("embeddings",) if self.engine.get("runner") == "pooling" else ("text",)

    @property
    def adapters(self) -> dict[str, LoRAModule]:
        """The adapters by their names in the API."""
        return {f"{self.id}:{module.name}": module for module in self.lora_modules}

    @property
    def adapter_ids(self) -> tuple[str, ...]:
        """Those of its LoRA adapters."""
        return tuple(self.adapters)

    @field_validator("engine")
    @classmethod
    def _can_be(cls, engine: dict[str, Any]) -> dict[str, Any]:
        """Refuse numbers that no engine takes; vLLM checks the rest when it loads."""
        for name in COUNTS & engine.keys():
            if isinstance(engine[name], int) and engine[name] < 1:
                raise ValueError(f"{name} must be at least 1, and is {engine[name]}")
        share = engine.get("gpu_memory_utilization")
        if isinstance(share, int | float) and not 0 < share <= 1:
            raise ValueError(f"gpu_memory_utilization is a share above 0 and up to 1, and is {share}")
        return engine

    @model_validator(mode="after")
    def _names_a_model(self) -> Self:
        if not self.engine.get("model"):
            raise ValueError(f"model {self.id!r}: engine.model is missing (a Hugging Face id or a path)")
        if len(self.adapters) != len(self.lora_modules):
            raise ValueError(f"model {self.id!r}: names under lora_modules must be unique")
        return self


class ScriptedModel(ModelBase):
    """A programmed stand-in: tokens, delays and failures, for tests and for measuring everything but the model."""

    kind: Literal["scripted"]
    tokens: int = Field(default=32, ge=1, description="Tokens in an answer, unless the request asks for fewer.")
    prefill_ms: float = Field(default=0.0, ge=0, description="Milliseconds before the first token.")
    token_ms: float = Field(default=0.0, ge=0, description="Milliseconds between tokens.")
    slots: int | None = Field(
        default=None,
        ge=1,
        description="Answers generated at once, like an engine's `max_num_seqs`; others wait. Not set: no bound.",
    )
    in_step: bool = Field(
        default=False, description="Let all answers have their next token at the same moment, as an engine's steps do."
    )
    load_s: float = Field(default=0.0, ge=0, description="Seconds that a replica takes to start.")
    fails_to_load: bool = Field(default=False, description="Fail to start.")
    fail_after: int | None = Field(default=None, ge=0, description="Fail once this many tokens are out.")
    context_tokens: int = Field(default=2048, ge=1, description="Words that fit into a prompt.")
    embedding_dimensions: int | None = Field(
        default=None, ge=1, le=4096, description="Numbers in an embedding; without it the model makes none."
    )
    transcript: str | None = Field(
        default=None,
        max_length=65_536,
        description="The transcript of every recording; without it the model does not transcribe.",
    )
    input_modalities: tuple[Literal["text", "image"], ...] = Field(
        default=("text",), description="What a message may hold."
    )
    adapters: tuple[Annotated[str, Field(pattern=ADAPTER_NAME)], ...] = Field(
        default=(), description="Names of adapters that it answers for, as `<id>:<name>`."
    )
    adapter_loading: AdapterLoading | None = Field(
        default=None, description="Let it answer for adapters that are loaded while the service runs."
    )

    @property
    def adapter_ids(self) -> tuple[str, ...]:
        """Those that it answers for."""
        return tuple(f"{self.id}:{name}" for name in self.adapters)

    @property
    def max_sequences(self) -> int:
        """Its `slots`, or as many as vLLM runs on most GPUs."""
        return self.slots or 2 * VLLM_MAX_NUM_SEQS

    @property
    def queued_above(self) -> int | None:
        """Its `slots`."""
        return self.slots

    @property
    def output_modalities(self) -> tuple[str, ...]:
        """Text, and embeddings and transcripts if it makes any."""
        embeddings = ("embeddings",) if self.embedding_dimensions else ()
        return ("text", *embeddings, *(("transcripts",) if self.transcript is not None else ()))


class BrokenModel(ModelBase):
    """A model whose `args:` are wrong: it is shown, and cannot be served."""

    @property
    def max_sequences(self) -> int:
        """As many as vLLM runs on most GPUs, so that it lowers nobody's limits."""
        return 2 * VLLM_MAX_NUM_SEQS


AnyModel = Annotated[VLLMModel | ScriptedModel | ProviderModel, Field(discriminator="kind")]


_ANY_MODEL: TypeAdapter[AnyModel] = TypeAdapter(AnyModel)


def model_of(arguments: object) -> AnyModel:
    """Return the model that the `args:` of an application of its own describe; ValidationError says what is wrong."""
    return _ANY_MODEL.validate_python(arguments)

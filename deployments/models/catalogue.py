"""What the service knows about model families and well-known models: `catalogue.yaml`, and how it is applied.

A family is found by a Hugging Face id or a folder's name, else by the model's own config.json, else by its
chat template. Whatever a service file sets itself wins over what stands here (`completed`).
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self, cast

import yaml
from pydantic import Field, ValidationError

from deployments.config import Section, first_problem
from deployments.models.files.hub_cache import snapshot_of

FILE = Path(__file__).with_suffix(".yaml")
MAX_CONFIG_BYTES = 16 << 20
FITTING = -1
"""vLLM's `max_model_len` for as many tokens as fit the memory, the model's own context at most."""
WRITES_TITLES_PARAMETERS = 1_000_000_000
"""With fewer, a model's titles of conversations are worse than the question's first sentence."""
UNIPROC = "vllm.v1.executor.uniproc_executor.UniProcExecutor"

Capability = Literal["tools", "reasoning", "vision", "embeddings", "transcription"]
TALKS_NOT: frozenset[Capability] = frozenset({"embeddings", "transcription"})
"""What a model does that does not chat."""
Config = Mapping[str, Any]
Tree = dict[str, Any]


class Family(Section):
    """Models that need the same settings."""

    name: str = Field(description="Its name in the catalogue.")
    title: str = Field(description="Its name for people.")
    ids: tuple[str, ...] = Field(default=(), description="Patterns of Hugging Face ids and of folders' names.")
    configs: tuple[dict[str, Any], ...] = Field(default=(), description="Fields that its config.json has, each set.")
    template: tuple[str, ...] = Field(default=(), description="Texts that its chat template holds, all of them.")
    tool_parser: str | None = Field(default=None, description="Name in vLLM's registry of tool parsers.")
    reasoning_parser: str | None = Field(default=None, description="Name in vLLM's registry of reasoning parsers.")
    sampling: dict[str, int | float] = Field(
        default_factory=dict, description="Defaults of requests' sampling parameters."
    )
    chat: dict[str, Any] = Field(default_factory=dict, description="Further options under `chat:`.")
    engine: dict[str, Any] = Field(default_factory=dict, description="Further options under `engine:`.")
    hears: bool = Field(default=False, description="Whether its models transcribe speech and do not chat.")
    note: str = Field(default="", description="What to know about its chat template or its tools.")

    @property
    def makes_embeddings(self) -> bool:
        """Whether its models make embeddings and do not chat."""
        return self.engine.get("runner") == "pooling"


class Entry(Section):
    """A model with a name of the catalogue, such as `qwen3:0.6b`."""

    name: str = Field(pattern=r"^[a-z0-9.-]+:[a-z0-9.-]+$", description="Its name here: family and size.")
    aliases: tuple[str, ...] = Field(default=(), description="Further names of it.")
    model: str = Field(description="Its Hugging Face id.")
    parameters: int = Field(gt=0, description="How many parameters it has, rounded.")
    bytes: int = Field(gt=0, description="Bytes of its weights on disk, rounded.")
    context: int = Field(gt=0, description="Tokens of prompt and answer that it was made for.")
    license: str = Field(description="Its license.")
    gated: bool = Field(default=False, description="Whether it is downloaded only with an account that may.")
    capabilities: tuple[Capability, ...] = Field(default=(), description="What it can do besides text.")

    @property
    def writes_titles(self) -> bool:
        """Whether it is asked for titles of conversations, as far as it chats at all."""
        return self.parameters >= WRITES_TITLES_PARAMETERS or not TALKS_NOT.isdisjoint(self.capabilities)


class Catalogue(Section):
    """All families in the order in which they are tried, and all models."""

    families: tuple[Family, ...]
    models: tuple[Entry, ...]

    @classmethod
    def load(cls, path: Path = FILE) -> Self:
        """Read the catalogue; the file that is shipped is read once in a process."""
        return cast(Self, _read(path))

    def entry(self, name: str) -> Entry | None:
        """Return the model with this name, alias or Hugging Face id, in any case; None if it is not known."""
        wanted = name.lower()
        return next((one for one in self.models if wanted in (one.name, one.model.lower(), *one.aliases)), None)

    def suggestions(self, name: str) -> list[str]:
        """Return names that begin like an unknown one, e.g. every size of a family."""
        family = name.lower().partition(":")[0]
        return [one.name for one in self.models if family and one.name.startswith(family)]

    def family_of(self, model: str, config: Config | None = None, chat_template: str = "") -> Family | None:
        """Return the family of a Hugging Face id or a folder; of what is not given, its own files are read.

        None: nothing is known, and vLLM's defaults have to do. No network is used.
        """
        known = self.entry(model)
        folder = folder_of(known.model if known else model)
        if folder is not None:
            config = read_config(folder) if config is None else config
            chat_template = chat_template or read_template(folder)
        return (
            self._first(lambda one: _is_named(one, known.model if known else model))
            or self._first(lambda one: any(_agrees(fields, config or {}) for fields in one.configs))
            or self._first(lambda one: bool(one.template) and all(text in chat_template for text in one.template))
        )

    def family(self, name: str) -> Family | None:
        """Return the family with a name of the catalogue."""
        return self._first(lambda family: family.name == name)

    def settings_for(
        self, name: str, *, identifier: str | None = None, on_gpu: bool = False, path: str | None = None
    ) -> Tree:
        """Return a whole entry of `models:` for a catalogue name, a Hugging Face id or a folder.

        `identifier` is its name in the API; else it follows from `name`. `path` is the folder to read it
        from where `name` is not one. Raises nothing: what is not known has vLLM's defaults.
        """
        known = self.entry(name)
        model = path or (known.model if known else _absolute(name))
        is_nickname = known is not None and name.lower() != known.model.lower()
        identifier = identifier or (known.name.replace(":", "-") if known and is_nickname else identifier_of(name))
        entry: Tree = {"id": identifier, "kind": "vllm", "engine": {"model": model}}
        if known and not known.writes_titles:
            entry["writes_titles"] = False
        if not on_gpu:
            entry["engine"]["distributed_executor_backend"] = UNIPROC
        family = self.family_of(known.model if known else name, config_of(model), template_of(model))
        if family is None or not (family.makes_embeddings or family.hears):
            entry["engine"]["max_model_len"] = FITTING
        return self.completed(entry, family)

    def completed(self, entry: Tree, family: Family | None) -> Tree:
        """Return a `models:` entry with what the family needs where the entry itself does not say it."""
        if family is None:
            return entry
        engine: Tree = {**family.engine, **entry.get("engine", {})}
        chat: Tree = {**family.chat, **entry.get("chat", {})}
        if engine.get("runner") == "pooling":
            return {**entry, "engine": engine, **({"chat": chat} if chat else {})}
        if family.sampling:
            engine.setdefault("override_generation_config", dict(family.sampling))
        if family.tool_parser and "enable_auto_tools" not in chat and "tool_parser" not in chat:
            chat |= {"enable_auto_tools": True, "tool_parser": family.tool_parser}
        if family.reasoning_parser and "reasoning_parser" not in chat and "reasoning_parser" not in engine:
            # The handler's parser splits the answer; the engine's lets a grammar begin after the reasoning.
            chat["reasoning_parser"] = engine["reasoning_parser"] = family.reasoning_parser
        return {**entry, "engine": engine, **({"chat": chat} if chat else {})}

    def _first(self, accepts: Callable[[Family], bool]) -> Family | None:
        return next((family for family in self.families if accepts(family)), None)


@cache
def _read(path: Path) -> Catalogue:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    try:
        return Catalogue.model_validate(document)
    except ValidationError as error:
        raise ValueError(f"{path}: {first_problem(error)}") from None


def _is_named(family: Family, model: str) -> bool:
    """Whether the family's patterns match a Hugging Face id, or the last part of a path."""
    last = model.rstrip("/").rpartition("/")[2]
    names = {last.lower()} if is_path(model) else {model.lower(), last.lower()}
    return any(fnmatchcase(name, pattern) for name in names for pattern in family.ids)


def _agrees(fields: Mapping[str, Any], config: Config) -> bool:
    text = config.get("text_config")
    return any(
        all(one.get(name) == value for name, value in fields.items())
        for one in (config, text if isinstance(text, Mapping) else {})
        if one
    )


def identifier_of(name: str) -> str:
    """Return the API's name of a model: a Hugging Face id itself, or a folder's last part."""
    return Path(name).expanduser().resolve().name if is_path(name) else name


def is_path(name: str) -> bool:
    """Whether a name means a folder or file of this machine rather than a Hugging Face id."""
    try:
        return name.startswith(("/", ".", "~")) or Path(name).exists()
    except OSError:  # too long to be one
        return False


def _absolute(name: str) -> str:
    return str(Path(name).expanduser().resolve()) if is_path(name) else name


def folder_of(model: str) -> Path | None:
    """Return where a model's files are on this machine: its folder, or its snapshot in Hugging Face's cache."""
    if is_path(model):
        local = Path(model).expanduser()
        return local if local.is_dir() else None
    return snapshot_of(model)


def config_of(model: str) -> Config | None:
    """Return a model's config.json as far as it is on this machine."""
    folder = folder_of(model)
    return read_config(folder) if folder else None


def template_of(model: str) -> str:
    """Return a model's chat template as far as it is on this machine, else ""."""
    folder = folder_of(model)
    return read_template(folder) if folder else ""


def read_config(folder: Path) -> Config | None:
    """Return config.json of a folder, or None where there is no valid one."""
    return _json(folder / "config.json")


def read_template(folder: Path) -> str:
    """Return the chat template of a folder, "" where it has none."""
    for name in ("chat_template.jinja", "chat_template.json"):
        text = _text(folder / name)
        if text:
            return text
    found: Any = (_json(folder / "tokenizer_config.json") or {}).get("chat_template")
    return found if isinstance(found, str) else json.dumps(found) if isinstance(found, Sequence) else ""


def _json(path: Path) -> Config | None:
    try:
        found: Any = json.loads(_text(path))
    except (ValueError, RecursionError):
        return None
    return cast(Config, found) if isinstance(found, dict) else None


def _text(path: Path) -> str:
    """Return a regular file's text, "" where it cannot be read or is too large to be what it should."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size > MAX_CONFIG_BYTES:
                return ""
            return file.read(MAX_CONFIG_BYTES).decode()
    except (OSError, ValueError):
        return ""

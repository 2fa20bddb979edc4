"""What the answers about models and their readiness look like; for their description, not for making them."""

from typing import Literal

import msgspec

LoadPhase = Literal["starting", "downloading", "reading_weights", "compiling", "warming_up"]
ModelStatus = Literal["ready", "asleep", "loading", "failed"]


class Health(msgspec.Struct):
    """This replica is alive."""

    status: Literal["ok"]


class ModelReadiness(msgspec.Struct):
    """The state of one model; `elapsed_s` is how long it has been in it.

    One that is asleep has no replica because nobody asks for it; a request wakes it. While it loads, `phase` says what
    its replica does, `percent` how much of that is done, `expected_s` how many seconds a start took before, and
    `remaining_s` about how many are left (of one that is asleep: once it is asked); null where that is not known.
    `reason` is why it has not loaded, for an administrator's key alone.
    """

    id: str
    status: ModelStatus
    elapsed_s: float
    replicas: int
    message: str
    reason: str
    phase: LoadPhase | None
    percent: int | None
    expected_s: float | None
    remaining_s: float | None


class Readiness(msgspec.Struct):
    """The state of the default model, where one that is asleep counts as ready, and of each.

    `problems` say what is wrong with the configuration that was deployed last, and stand only for an administrator's
    key: a `user_config` that was refused, a name that stands for no model.
    """

    status: Literal["ready", "loading", "failed"]
    models: list[ModelReadiness]
    problems: list[str] = []


class Model(msgspec.Struct):
    """A model, a LoRA adapter of one (`parent`), or another name for one (`alias_of`).

    `root` is where an adapter that was loaded while the service runs comes from: a folder or a Hugging Face id.
    `input_modalities` are what a message to it may hold, `output_modalities` what it answers with: `text`,
    `embeddings`, `labels`, `scores` or `transcripts`. `max_model_len` is how many tokens a prompt and its answer may
    have together, null until the model has loaded. `writes_titles` says whether its titles of conversations are better
    than the question's first sentence, and `fallback` which models answer in its place where it cannot. `replicas` and
    `running` (requests that its engines hold) stand only where one model was asked for, and `reason`, why it has not
    loaded, only for an administrator's key, with `phase`, `percent`, `expected_s` and `remaining_s` as in `/ready`.
    """

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    status: ModelStatus
    input_modalities: list[str]
    output_modalities: list[str]
    max_model_len: int | None
    writes_titles: bool
    fallback: list[str]
    alias_of: str | msgspec.UnsetType = msgspec.UNSET
    parent: str | msgspec.UnsetType = msgspec.UNSET
    root: str | msgspec.UnsetType = msgspec.UNSET
    replicas: int | msgspec.UnsetType = msgspec.UNSET
    running: int | msgspec.UnsetType = msgspec.UNSET
    reason: str | msgspec.UnsetType = msgspec.UNSET
    phase: LoadPhase | msgspec.UnsetType | None = msgspec.UNSET
    percent: int | msgspec.UnsetType | None = msgspec.UNSET
    expected_s: float | msgspec.UnsetType | None = msgspec.UNSET
    remaining_s: float | msgspec.UnsetType | None = msgspec.UNSET


class Models(msgspec.Struct):
    """The models, the default one first."""

    object: Literal["list"]
    data: list[Model]

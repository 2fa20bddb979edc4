"""Which model a name in a request means."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from deployments.config import Settings
from deployments.errors import ModelNotFound

ANYTHING = "*"
"""At an alias's end: it stands for every name that begins so."""


@dataclass(frozen=True, slots=True)
class ModelNames:
    """The models' ids, which of them is the default, other names for them, and adapters with their models.

    An id comes before an alias, an alias before one that ends in `*`, and of these the longest counts.
    """

    ids: Sequence[str]
    default: str
    aliases: Mapping[str, str] = field(default_factory=dict[str, str])
    unknown_get_default: bool = False
    adapters: Mapping[str, str] = field(default_factory=dict[str, str])

    @classmethod
    def of(cls, settings: Settings) -> "ModelNames":
        """Return the names from the configuration."""
        ids = tuple(model.id for model in settings.models)
        default = settings.default_model or next(iter(ids), "")
        return cls(ids, default, settings.aliases, settings.unknown_models_get_default, settings.adapters)

    def resolve(self, name: str | None) -> str:
        """Return the id of the model or adapter that a request names, the default for None; raises ModelNotFound."""
        if not name or (self.unknown_get_default and not self.is_known(name)):
            name = self.default
        found = name if self._is_id(name) else self.aliases.get(self._alias(name), "")
        if not self._is_id(found):  # an alias can stand for a model that has been removed
            names = ", ".join((*self.ids, *self.adapters, *self.aliases)) or "no model yet"
            raise ModelNotFound(f"The model {name!r} does not exist. This server has: {names}.", "model")
        return found

    def is_known(self, name: str) -> bool:
        """Tell an id or an alias from any other name."""
        return self._is_id(name) or bool(self._alias(name))

    @property
    def single_aliases(self) -> Mapping[str, str]:
        """The aliases that are one name each."""
        return {alias: name for alias, name in self.aliases.items() if not alias.endswith(ANYTHING)}

    def _is_id(self, name: str) -> bool:
        return name in self.ids or name in self.adapters

    def _alias(self, name: str) -> str:
        """Return the alias that a name equals or matches, "" if there is none."""
        if name in self.single_aliases:
            return name
        patterns = [alias for alias in self.aliases if alias.endswith(ANYTHING) and name.startswith(alias[:-1])]
        return max(patterns, key=len, default="")

"""Which model a name in a request means."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from deployments.config import Settings
from deployments.errors import ModelNotFound


@dataclass(frozen=True, slots=True)
class ModelNames:
    """The models' ids, which of them is the default, and other names for them."""

    ids: Sequence[str]
    default: str
    aliases: Mapping[str, str] = field(default_factory=dict[str, str])
    unknown_get_default: bool = False

    @classmethod
    def of(cls, settings: Settings) -> "ModelNames":
        """Return the names that the configuration gives."""
        ids = tuple(model.id for model in settings.models)
        return cls(ids, settings.default.id, settings.aliases, settings.unknown_models_get_default)

    def resolve(self, name: str | None) -> str:
        """Return the id of the model that a request names, the default one for None; raises ModelNotFound."""
        if not name or (self.unknown_get_default and not self.is_known(name)):
            return self.default
        if not self.is_known(name):
            raise ModelNotFound(
                f"The model {name!r} does not exist. This server has: {', '.join((*self.ids, *self.aliases))}.", "model"
            )
        return self.aliases.get(name, name)

    def is_known(self, name: str) -> bool:
        """Tell an id or an alias from any other name."""
        return name in self.ids or name in self.aliases

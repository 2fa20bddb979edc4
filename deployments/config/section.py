"""What all groups of settings have in common."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field

PositiveSeconds = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A frozen group of settings that refuses names it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def overridden(self, other: "Section") -> Self:
        """Return this with what `other` sets of the same names, group by group; both have been validated."""
        changed: dict[str, object] = {}
        for name in other.model_fields_set:
            mine, theirs = getattr(self, name), getattr(other, name)
            is_group = isinstance(mine, Section) and isinstance(theirs, Section)
            changed[name] = mine.overridden(theirs) if is_group else theirs
        return self.model_copy(update=changed)

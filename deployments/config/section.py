"""What all groups of settings have in common."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

PositiveSeconds = Annotated[float, Field(gt=0)]


def first_problem(error: ValidationError, within: str = "") -> str:
    """Return the place of the first wrong field and what is wrong with it; `within` is where the whole stands."""
    first = error.errors()[0]
    place = ".".join((*([within] if within else []), *(str(part) for part in first["loc"])))
    return f"{place}: {first['msg']}"


class Section(BaseModel):
    """A frozen group of settings that refuses names it does not know, and numbers without a bound."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def overridden(self, other: "Section") -> Self:
        """Return this with what `other` sets of the same names, group by group; both have been validated."""
        changed: dict[str, object] = {}
        for name in other.model_fields_set:
            mine, theirs = getattr(self, name), getattr(other, name)
            is_group = isinstance(mine, Section) and isinstance(theirs, Section)
            changed[name] = mine.overridden(theirs) if is_group else theirs
        return self.model_copy(update=changed)

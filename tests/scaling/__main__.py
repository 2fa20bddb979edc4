"""Print the tables."""

from tests.scaling.comparison import tables

print(tables())  # noqa: T201 - it is what this is for

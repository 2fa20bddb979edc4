"""`python -m docs.generate` writes the reference pages."""

from docs.generate import write

write()

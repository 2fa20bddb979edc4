"""Variables that must be in the environment before Ray starts, from the table that the launcher and the checks read."""

from deployments.infra.ray.variables import REPOSITORY, VARIABLES, Variable
from docs.generate.markdown import code, paragraphs, prose, table

INTRODUCTION = """
# Settings of nodes

Variables of Ray, Serve and HAProxy that must be in the environment before Ray starts. On one machine the launcher sets
them; another value in its own environment wins, except for the token and HAProxy's path. For a cluster,
`chatllm cluster env` prints them as a file, and `chatllm cluster check` compares running nodes with them: what is in
bold must stand, the rest is a warning. `…` is where the repository is on the node.
"""
PLACES = {"everywhere": "", "one machine": "one machine", "cluster": "clusters"}


def page() -> str:
    """Return the page."""
    return paragraphs(INTRODUCTION, table(("variable", "value", "why", "only on"), map(_row, VARIABLES)))


def _row(one: Variable) -> tuple[str, str, str, str]:
    name = f"**{code(one.name)}**" if one.is_required else code(one.name)
    return name, code(one.value.replace(str(REPOSITORY), "…")), prose(one.why), PLACES[one.scope]

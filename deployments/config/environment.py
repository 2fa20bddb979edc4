"""What is read from the environment: addresses with their passwords, keys, and where models are kept."""

import os
from pathlib import Path
from typing import Self

from pydantic import SecretStr

from deployments.config.section import Section


class Addresses(Section):
    """Where the stores are, with their passwords: from the environment only."""

    database_url: SecretStr
    redis_url: SecretStr

    @classmethod
    def from_environment(cls) -> Self:
        """Read DATABASE_URL and REDIS_URL; raise ValueError that names what is missing."""
        missing = [name for name in ("DATABASE_URL", "REDIS_URL") if not os.environ.get(name)]
        if missing:
            raise ValueError(f"set {' and '.join(missing)} in the environment of the Ray cluster")
        return cls(database_url=SecretStr(os.environ["DATABASE_URL"]), redis_url=SecretStr(os.environ["REDIS_URL"]))


def secret_in_environment(name: str) -> SecretStr | None:
    """Return what a variable holds, None if it is not set or empty."""
    value = os.environ.get(name, "").strip()
    return SecretStr(value) if value else None


def hugging_face_cache() -> Path:
    """Return the folder that Hugging Face's library keeps models in, by its own variables."""
    general = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or os.path.join(general, "huggingface")  # noqa: PTH118 - `~` is expanded below
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return Path(os.path.expandvars(named or os.path.join(home, "hub"))).expanduser()  # noqa: PTH118

"""What the launcher is told: by its command line first, by the environment second.

CHATLLM_STATE           folder that keeps everything of this installation (.chatllm in the repository)
CHATLLM_HOST            address on which the API listens, in place of the service file's
CHATLLM_PORT            port of the API (8000)
CHATLLM_PAGE_HOST       address on which the chat page listens (127.0.0.1)
CHATLLM_PAGE_PORT       port of the chat page (8080)
CHATLLM_DASHBOARD_PORT  port of Ray's dashboard (8265)
CHATLLM_PROMETHEUS_PORT port of Prometheus, which `chatllm monitor` starts (9090)
CHATLLM_DRAIN_S         seconds that answers may take to end at a stop (30)
CHATLLM_MODEL           name such as qwen3:0.6b, Hugging Face id or path, in place of the default model's
DATABASE_URL            an external Postgres, in place of the embedded one
REDIS_URL               an external Redis or Valkey, in place of the embedded one
"""

import os
from pathlib import Path
from typing import Any, Self

from pydantic import Field, SecretStr, ValidationError

from deployments.config import Section
from deployments.local.state import LauncherError

REPOSITORY = Path(__file__).resolve().parents[2]

_VARIABLES = {
    "state": "CHATLLM_STATE",
    "host": "CHATLLM_HOST",
    "port": "CHATLLM_PORT",
    "page_host": "CHATLLM_PAGE_HOST",
    "page_port": "CHATLLM_PAGE_PORT",
    "dashboard_port": "CHATLLM_DASHBOARD_PORT",
    "prometheus_port": "CHATLLM_PROMETHEUS_PORT",
    "drain_s": "CHATLLM_DRAIN_S",
    "model": "CHATLLM_MODEL",
    "database_url": "DATABASE_URL",
    "redis_url": "REDIS_URL",
}


class LauncherSettings(Section):
    """One run of the launcher."""

    state: Path = Field(default=REPOSITORY / ".chatllm", description="Folder that keeps everything.")
    config: Path = Field(default=REPOSITORY / "serve_config.yaml", description="What is deployed.")
    host: str = Field(default="", description="Address on which the API listens, in place of the service file's.")
    port: int = Field(default=8000, ge=1, le=65535, description="Port of the API.")
    page_host: str = Field(default="127.0.0.1", min_length=1, description="Address on which the chat page listens.")
    page_port: int = Field(default=8080, ge=1, le=65535, description="Port of the chat page.")
    dashboard_port: int = Field(default=8265, ge=1, le=65535, description="Port of Ray's dashboard.")
    prometheus_port: int = Field(default=9090, ge=1, le=65535, description="Port of Prometheus.")
    page: bool = Field(default=True, description="Start the chat page.")
    browser: bool = Field(default=True, description="Open the page in a browser, on a terminal with a display.")
    model: str = Field(
        default="", description="Name of the catalogue, Hugging Face id or path, in place of the default model."
    )
    drain_s: float = Field(default=30.0, ge=0, description="Seconds that answers may take to end at a stop.")
    database_url: SecretStr | None = Field(default=None, description="An external Postgres.")
    redis_url: SecretStr | None = Field(default=None, description="An external Redis or Valkey.")

    @classmethod
    def read(cls, **options: Any) -> Self:
        """Combine the options that are not None with the environment; LauncherError names what is wrong."""
        values: dict[str, Any] = {field: os.environ[name] for field, name in _VARIABLES.items() if os.environ.get(name)}
        values |= {field: value for field, value in options.items() if value is not None}
        try:
            settings = cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            field = str(first["loc"][0])
            name = f"--{field.replace('_', '-')}" if options.get(field) is not None else _VARIABLES.get(field, field)
            raise LauncherError(f"{name}={first['input']} is not valid: {first['msg']}") from None
        ports = settings.listening
        if len(set(ports.values())) < len(ports):
            raise LauncherError(f"every part needs a port of its own, but they are {ports}")
        return settings

    @property
    def listening(self) -> dict[str, int]:
        """The ports that a user sees, by the option that sets each."""
        ports = {"port": self.port, "dashboard-port": self.dashboard_port}
        return {**ports, "page-port": self.page_port} if self.page else ports

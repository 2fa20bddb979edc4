"""`chatllm models adapter`: load, list and unload LoRA adapters of the running service."""

from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import quote

import httpx
import typer
from rich.filesize import decimal

from deployments.local import keys
from deployments.local.cli.keys import borrowed_postgres
from deployments.local.instance import Instance
from deployments.local.settings import LauncherSettings
from deployments.local.state import LauncherError

adapters_app = typer.Typer(
    help="Load, list and unload LoRA adapters of the running service (its `adapter_loading` says which).",
    no_args_is_help=True,
)

PATH = "/v1/admin/adapters"
TIMEOUT_S = 900.0
"""Of one request: loading may download the adapter first."""
KEY_LIFE = timedelta(minutes=20)


@adapters_app.command()
def load(
    name: Annotated[str, typer.Argument(help="Its name; requests name MODEL:NAME.")],
    source: Annotated[str, typer.Argument(help="A folder below an allowed one, or a Hugging Face id.")],
    model: Annotated[str | None, typer.Option(help="The model it is for, instead of the default one.")] = None,
) -> None:
    """Load an adapter into all replicas of its model, in place of one that has its name."""
    body = {"name": name, "source": source} | ({"model": model} if model else {})
    with _api() as api:
        loaded = _answer(api.post(PATH, json=body))
    typer.echo(f"Loaded {_line(loaded)}")


@adapters_app.command("list")
def list_adapters() -> None:
    """List the adapters that were loaded while the service runs; they are there again after a restart."""
    with _api() as api:
        found = _answer(api.get(PATH))["data"]
    for adapter in found:
        typer.echo(_line(adapter))


@adapters_app.command()
def unload(adapter: Annotated[str, typer.Argument(metavar="MODEL:NAME", help="As `list` shows it.")]) -> None:
    """Unload an adapter: running requests finish, and new ones are refused with a 404."""
    with _api() as api:
        _answer(api.delete(f"{PATH}/{quote(adapter, safe=':')}"))
    typer.echo(f"Unloaded {adapter}.")


@contextmanager
def _api() -> Generator[httpx.Client]:
    """Lend a client of the running service, with an administrator's key that is revoked at the end."""
    instance = Instance.read(LauncherSettings.read().state.absolute())
    if instance is None:
        raise LauncherError("the service does not run: start it with make serve")
    with borrowed_postgres() as url, _admin_key(url) as secret:
        headers = {"authorization": f"Bearer {secret}"}
        try:
            with httpx.Client(base_url=instance.api_url, headers=headers, timeout=TIMEOUT_S, trust_env=False) as api:
                yield api
        except httpx.HTTPError as error:
            raise LauncherError(f"{instance.api_url} does not answer: {error}") from None


@contextmanager
def _admin_key(url: str) -> Generator[str]:
    """Lend a key. One that could not be revoked, because this process was killed, expires by itself."""
    now = datetime.now(UTC)
    changes: Any = {"is_admin": True, "expires_at": now + KEY_LIFE}
    key, secret = keys.run(
        url, lambda store: store.create(f"chatllm models adapter {now:%Y-%m-%d %H:%M:%S.%f}", changes)
    )
    try:
        yield secret
    finally:
        keys.run(url, lambda store: store.revoke(key.id))


def _answer(response: httpx.Response) -> dict[str, Any]:
    """Return an answer's body; LauncherError with what the service says against the request."""
    if response.is_success:
        return response.json()
    try:
        message = str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        message = f"the service answered with status {response.status_code}"
    raise LauncherError(message.rstrip("."))


def _line(adapter: dict[str, Any]) -> str:
    size, sha256 = decimal(adapter["bytes"]), adapter["sha256"][:12]
    return f"{adapter['id']}  rank {adapter['rank']}  {size}  sha256 {sha256}…  from {adapter['source']}"

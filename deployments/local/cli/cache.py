"""`chatllm cache`: on the user's own Redis, the running embedded Valkey, or one started for the moment."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from deployments.cache.key import model_part, tenant_part
from deployments.cache.purging import Purge, PurgeableAnswers
from deployments.cache.store import RedisStore
from deployments.config import Settings
from deployments.errors import ChatLLMError
from deployments.infra.redis.errors import StoreError
from deployments.local import service_file
from deployments.local.settings import LauncherSettings
from deployments.local.state import LauncherError, StateFolder
from deployments.models.identity import identities
from deployments.models.names import ModelNames

TIMEOUT_S = 10.0

cache_app = typer.Typer(help="Purge cached answers, and show what the store holds.", no_args_is_help=True)

Config = Annotated[Path | None, typer.Option(help="The service file, instead of serve_config.yaml.")]
T = TypeVar("T")


@cache_app.command()
def purge(
    key: Annotated[str, typer.Option(help="One answer, by the `x-cache-key` of its response.")] = "",
    tenant: Annotated[str, typer.Option(help="All answers to an API key, by the key's id.")] = "",
    model: Annotated[str, typer.Option(help="All answers of a model, by its id or an alias.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="All answers.")] = False,
    config: Config = None,
) -> None:
    """Purge answers: by --key; by --tenant, --model or both; or --all. It takes effect within a second."""
    if (bool(key), bool(tenant or model), everything).count(True) != 1:
        raise typer.BadParameter("say what to purge: --key; --tenant, --model or both; or --all")
    settings = LauncherSettings.read(config=config.absolute() if config else None)
    served = service_file.read(settings).settings
    if tenant and served.cache.shared:
        raise typer.BadParameter("all tenants share cached answers here: use --model or --all")
    what = Purge(key, tenant_part(tenant) if tenant else "", _model_part(served, model))
    _run(settings, served, lambda store: PurgeableAnswers(store).purge(what))
    typer.echo("Purged; replicas that hold answers in memory drop them within a second.")


@cache_app.command()
def stats(config: Config = None) -> None:
    """Show what the store holds, as JSON. GET /v1/admin/cache has the figures of the replicas."""
    settings = LauncherSettings.read(config=config.absolute() if config else None)
    served = service_file.read(settings).settings
    typer.echo(json.dumps(asdict(_run(settings, served, lambda store: store.figures())), indent=2))


def _model_part(served: Settings, name: str) -> str:
    """Return what stands for a model in the keys; LauncherError if there is no such model."""
    if not name:
        return ""
    try:
        found = ModelNames.of(served).resolve(name)
    except ChatLLMError as error:
        raise LauncherError(error.message) from None
    of = served.adapters.get(found, found)
    return model_part(identities(model for model in served.models if model.id == of)[found])


def _run(settings: LauncherSettings, served: Settings, work: Callable[[RedisStore], Awaitable[T]]) -> T:
    async def run(url: str) -> T:
        store = RedisStore(url, served.cache.namespace, TIMEOUT_S, TIMEOUT_S)
        try:
            return await work(store)
        finally:
            await store.aclose()

    with _borrowed_redis(settings) as url:
        try:
            return asyncio.run(run(url))
        except StoreError as error:
            raise LauncherError(f"Redis failed ({error.kind}): check REDIS_URL and that the server runs") from None


@contextmanager
def _borrowed_redis(settings: LauncherSettings) -> Generator[str]:
    if settings.redis_url is not None:
        yield settings.redis_url.get_secret_value()
        return
    from deployments.local.servers.borrowed import borrowed_server
    from deployments.local.servers.valkey import ValkeyServer

    with borrowed_server(ValkeyServer(StateFolder.open(settings.state))) as url:
        yield url

"""`/v1/admin/cache`: what the cache does, and taking answers back; for an administrator's key only."""

from dataclasses import asdict
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from deployments.api.admin.keys import admin_of
from deployments.api.http.replies import JSON
from deployments.api.schemas.openapi import documented
from deployments.api.services import Services, services_of
from deployments.cache.client import CacheClient
from deployments.cache.key import model_part, tenant_part
from deployments.cache.purging import Purge
from deployments.errors import BadRequest, Forbidden, ModelNotFound, Unavailable

KEY = r"^v\d+:[0-9a-f]{16}:[0-9a-f]{16}:[0-9a-f]{64}$"


class ReplicaFigures(msgspec.Struct):
    """What the ingress replica that answers has counted since it started, and what it holds in memory."""

    hits: int
    memory_hits: int
    similar_hits: int
    misses: dict[str, int]
    stored: int
    taught: int
    drops: dict[str, int]
    memory_entries: int
    memory_bytes: int


class StoreShown(msgspec.Struct):
    """What Redis tells of itself: all names of the server, whoever made them; null where it does not tell."""

    names: int | None
    used_bytes: int | None
    max_bytes: int | None
    evicted: int | None


class LookupShown(msgspec.Struct):
    """What one replica of the cache deployment has seen; `store` is null while Redis does not answer."""

    failures: dict[str, int]
    reading_is_stopped: bool
    writing_is_stopped: bool
    langchain_is_stopped: bool
    store: StoreShown | None


class CacheFigures(msgspec.Struct):
    """The cache as one ingress replica sees it; Prometheus adds up all replicas."""

    object: Literal["cache"]
    enabled: bool
    replica: ReplicaFigures | None
    lookup: LookupShown | None


class Purged(msgspec.Struct):
    """What was taken back, on every replica within a second."""

    object: Literal["cache.purged"]
    purged: bool
    key: str | None
    tenant: str | None
    model: str | None


router = APIRouter(prefix="/v1/admin/cache", tags=["admin"], dependencies=[Depends(admin_of)])


@router.get("", response_model=None, openapi_extra=documented(answer=CacheFigures, errors=(Forbidden,)))
async def cache_figures(request: Request) -> Response:
    """Tell what the cache has done, as far as this replica knows."""
    cache = services_of(request).cache
    if not isinstance(cache, CacheClient):
        return JSON({"object": "cache", "enabled": False, "replica": None, "lookup": None})
    lookup = await cache.figures()
    shown = {"object": "cache", "enabled": True, "replica": _replica(cache), "lookup": lookup and asdict(lookup)}
    return JSON(shown, 200, {"cache-control": "no-store"})


@router.delete("", response_model=None, openapi_extra=documented(answer=Purged, errors=(Forbidden, ModelNotFound)))
async def purge_cache(
    request: Request,
    key: Annotated[str | None, Query(pattern=KEY)] = None,
    tenant: Annotated[str | None, Query(min_length=1, max_length=128)] = None,
    model: Annotated[str | None, Query(min_length=1, max_length=128)] = None,
    all: bool = False,  # noqa: A002 - the name that the API gives it
) -> Response:
    """Take cached answers back: one (`key`, as `x-cache-key` told it), a tenant's, a model's, both, or `all=true`.

    A tenant is the id of an API key. It holds on every replica within a second.
    """
    services = services_of(request)
    given = sum((key is not None, tenant is not None or model is not None, all))
    if given != 1:
        raise BadRequest("Say what to purge: 'key'; 'tenant', 'model' or both; or 'all=true'.", "key")
    if tenant is not None and services.settings.cache.shared:
        raise BadRequest("All tenants share cached answers here: purge by 'model', or all.", "tenant")
    purge = Purge(key or "", tenant_part(tenant) if tenant else "", _model_part(services, model))
    if isinstance(services.cache, CacheClient):
        reason = await services.cache.purge(purge)
        if reason:
            raise Unavailable(f"The cache's store failed ({reason}): the purge may not hold; try again.", None, 1.0)
    return JSON({"object": "cache.purged", "purged": True, "key": key, "tenant": tenant, "model": model})


def _model_part(services: Services, model: str | None) -> str:
    """Return what stands for a model in the keys; raises ModelNotFound."""
    return model_part(services.models.identity(services.models.resolve(model))) if model else ""


def _replica(cache: CacheClient) -> dict[str, Any]:
    return {
        "hits": cache.hits,
        "memory_hits": cache.hot_hits,
        "similar_hits": cache.similar_client.similar_hits if cache.similar_client else 0,
        "misses": dict(cache.misses),
        "stored": cache.stored,
        "taught": cache.similar_client.taught if cache.similar_client else 0,
        "drops": dict(cache.drops),
        "memory_entries": len(cache.memory),
        "memory_bytes": cache.memory.held_bytes,
    }

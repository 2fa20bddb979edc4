"""A chat call as one model is asked it, and as the cache knows it."""

from collections.abc import Mapping
from typing import Any

from deployments.cache.key import cache_key
from deployments.cache.prefix import SALTED, cache_salt
from deployments.cache.steering import bypass_reason
from deployments.chat.call import GENERATING, ChatCall
from deployments.chat.lookup import Cache, CacheQuery
from deployments.chat.ports import Models, Turn
from deployments.config import ModelPolicy
from deployments.infra.heap import kept_json
from deployments.infra.tracing import traceparent
from deployments.models.affinity import prompt_head
from deployments.models.bounds import check_bounds
from deployments.models.media import check_media
from deployments.models.protocol import ModelRequest

OWN_FIELDS = ("conversation", "parent", "stream_options", "store", "metadata")
"""Fields of a request that this service answers for itself; a model never sees them."""


def asked(call: ChatCall, turn: Turn, model: str, policy: ModelPolicy) -> dict[str, Any]:
    """Return what determines the answer of a model; raises BadRequest for what it may not be asked."""
    request = {k: v for k, v in call.request.items() if k not in OWN_FIELDS}
    request |= {"model": model, "messages": turn.messages} if call.endpoint == "chat" else {"model": model}
    check_bounds(call.endpoint, request)
    if call.endpoint == "chat":
        check_media(turn.messages, policy.allowed_media_domains)
    return request


def model_request(
    call: ChatCall, turn: Turn, request: Mapping[str, Any], models: Models, cache_is_shared: bool
) -> ModelRequest:
    """Return `request` (`asked`) as its model's replicas take it."""
    model = request["model"]
    sent = dict(request)
    if call.endpoint in SALTED:
        sent["cache_salt"] = _salt(call, models.policy(model), cache_is_shared)
    if call.wants_usage_throughout:
        sent["stream_options"] = {"include_usage": True, "continuous_usage_stats": True}
    # Together, so that what answers is what the cache takes it for: an adapter's weights may change at any await.
    adapter, identity = models.adapter(model), models.identity(model)
    return ModelRequest(
        call.id,
        kept_json(sent),
        call.streams,
        turn.may_trim,
        call.endpoint,
        adapter,
        identity,
        call.file,
        traceparent(),
        prompt_head(sent) if call.endpoint in SALTED and models.routes_by_prompt(model) else b"",
    )


def cache_query(
    call: ChatCall, request: Mapping[str, Any], sent: ModelRequest, policy: ModelPolicy, cache: Cache, is_shared: bool
) -> CacheQuery:
    """Return the key of the answer in `cache`, or why it has none; `is_shared`: whatever tenant it is for.

    Answers that are random, not text, or report their usage throughout are not cached.
    """
    if not cache.is_on:
        reason = "off"
    elif call.endpoint not in GENERATING:
        reason = "endpoint"
    elif call.wants_usage_throughout:
        reason = "usage"
    else:
        reason = bypass_reason(request, policy.cache.requests, call.cache_control)
    tenant = "" if is_shared else call.tenant
    endpoint = f"{call.endpoint}, trimmed" if sent.trim else call.endpoint
    key = None if reason else cache_key(tenant, sent.identity, request, endpoint)
    return CacheQuery(key, reason, call.cache_control, call.reply_id)


def _salt(call: ChatCall, policy: ModelPolicy, cache_is_shared: bool) -> str:
    """Return what keeps the prompt's blocks in vLLM's prefix cache apart from those of other tenants."""
    shares = policy.cache.shared_prefixes
    is_shared = cache_is_shared if shares is None else shares
    return cache_salt("" if is_shared else call.tenant, call.request.get("cache_salt"))

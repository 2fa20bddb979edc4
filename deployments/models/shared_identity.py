"""The identities of models, computed once for all ingress replicas: the files they cover may be on one node alone."""

import hashlib
import json

from deployments.config import AnyModel
from deployments.infra.ray import key_value
from deployments.models.identity import identities


def publish_identities(model: AnyModel) -> dict[str, str]:
    """Compute and share the identities of a model and its adapters; ValueError for an adapter that is not there."""
    found = identities([model])
    if key_value.is_connected():
        key_value.put(_key(model), json.dumps(found).encode())
    return found


def shared_identities(model: AnyModel) -> dict[str, str]:
    """Return what was published for these settings, else compute it here; raises ValueError and OSError."""
    published = key_value.get(_key(model))
    return json.loads(published) if published else publish_identities(model)


def _key(model: AnyModel) -> str:
    return f"identities:{hashlib.sha256(model.model_dump_json().encode()).hexdigest()}"

"""What of a replica of the cache or of a model changes in place."""

import logging
from typing import TypeVar

from pydantic import ValidationError

from deployments.config.section import first_problem
from deployments.config.settings import ModelUserConfig, ReplicaUserConfig

logger = logging.getLogger(__name__)

Changes = TypeVar("Changes", bound=ReplicaUserConfig)


def configure_level(user_config: object, otherwise: str) -> None:
    """Set the level of the service's log as `user_config` says, or as `otherwise`; never raises."""
    _configured(ReplicaUserConfig, user_config, otherwise)


def configure_model(user_config: object, otherwise: str) -> ModelUserConfig | None:
    """Set the level of the log, and return what else of a model changes in place; None if it is refused."""
    return _configured(ModelUserConfig, user_config, otherwise)


def _configured(kind: type[Changes], user_config: object, otherwise: str) -> Changes | None:
    """Read a `user_config` and set the level of the log.

    Serve takes a replica that raises for one that is broken, so that what is wrong is logged and changes nothing.
    """
    try:
        changes = kind.model_validate(user_config or {})
    except ValidationError as error:
        logger.error("a user_config is refused", extra={"reason": first_problem(error)})
        return None
    level = changes.log_level if "log_level" in changes.model_fields_set else otherwise
    logging.getLogger("deployments").setLevel(level)
    return changes

"""What of a replica of the cache or of a model changes in place."""

import logging

from pydantic import ValidationError

from deployments.config.section import first_problem
from deployments.config.settings import ReplicaUserConfig

logger = logging.getLogger(__name__)


def configure_level(user_config: object, otherwise: str) -> None:
    """Set the level of the service's log as `user_config` says, or as `otherwise`; never raises.

    Serve takes a replica that raises for one that is broken, so that what is wrong is logged and changes nothing.
    """
    try:
        changes = ReplicaUserConfig.model_validate(user_config or {})
    except ValidationError as error:
        logger.error("a user_config is refused", extra={"reason": first_problem(error)})
        return
    level = changes.log_level if "log_level" in changes.model_fields_set else otherwise
    logging.getLogger("deployments").setLevel(level)

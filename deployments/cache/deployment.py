"""The Serve deployment's class for the cache's look-ups."""

from deployments.cache.lookup import CacheLookup
from deployments.config import CacheSettings
from deployments.config.replica import configure_level
from deployments.infra.heap import freeze_heap
from deployments.infra.logs import configure_logging
from deployments.models.scaling.process_load import ProcessLoad


class CacheReplica(CacheLookup):
    """A replica that answers look-ups from the Redis of its environment."""

    def __init__(self, settings: CacheSettings, log_level: str, is_encrypted: bool | None = None) -> None:
        configure_logging(log_level)
        super().__init__(settings)
        self.is_encrypted = is_encrypted
        self._log_level = log_level
        self._process = ProcessLoad()
        freeze_heap()

    async def reconfigure(self, user_config: object, rank: object = None) -> None:
        """Apply a changed `user_config`; Serve skips the call for an empty one unless there is a `rank`."""
        configure_level(user_config, self._log_level)

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Report this replica's load to Serve's autoscaler, which does not count look-ups over a connection."""
        return self._process.load().reported()

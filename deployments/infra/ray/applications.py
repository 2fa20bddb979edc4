"""What is deployed in this cluster: the applications of Serve's configuration, as its controller keeps them.

`serve.status()` tells states and no arguments, and Serve's REST API needs Ray's dashboard. The controller has a
method for the latter; one call takes it some milliseconds.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ray import serve
from ray.serve._private.client import ServeControllerClient
from ray.serve.context import _get_global_client  # pyright: ignore[reportPrivateUsage]
from ray.serve.handle import DeploymentHandle


@dataclass(frozen=True, slots=True)
class DeployedApplication:
    """An application as the service file has it."""

    name: str
    import_path: str
    args: Mapping[str, Any]

    def is_built_by(self, builder: str) -> bool:
        """Whether it is built by this function, `module:name`; Serve takes a dot in place of the colon as well."""
        return self.import_path.replace(":", ".") == builder.replace(":", ".")


class ServeConfiguration:
    """The configuration that was deployed last; one call at a time, and one that hangs is not made again."""

    def __init__(self) -> None:
        self._call: asyncio.Task[Sequence[DeployedApplication]] | None = None

    async def applications(self, timeout_s: float) -> Sequence[DeployedApplication]:
        """Return the applications in the order of the file.

        Raises TimeoutError while the controller does not answer, and what a call to an actor raises (`CALL_ERRORS`).
        """
        if self._call is None:
            self._call = asyncio.create_task(_applications(), name="serve-configuration")
        await asyncio.wait((self._call,), timeout=timeout_s)
        if not self._call.done():
            raise TimeoutError
        call, self._call = self._call, None
        return call.result()

    async def aclose(self) -> None:
        """Give up a call that hangs."""
        if self._call is not None:
            self._call.cancel()
            await asyncio.wait((self._call,))


async def _applications() -> Sequence[DeployedApplication]:
    client: ServeControllerClient | None = _get_global_client()
    assert client is not None  # or it would have raised
    configured = await client._controller.get_app_configs.remote()  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType, reportUnknownVariableType]
    return [DeployedApplication(name, one.import_path, one.args or {}) for name, one in configured.items()]  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


def handle_to(application: str, deployment: str) -> DeploymentHandle[Any]:
    """Return a handle to a deployment, which need not be there yet: its calls wait, and its router learns of it."""
    return serve.get_deployment_handle(deployment, application, _check_exists=False)

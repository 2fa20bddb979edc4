"""Starting Serve, and deploying, without waiting for one before the other.

The public ways wait: `serve.start` until the proxies answer, and it returns no client; `serve.run` until the
application does, for one application and without its service file (`deploy_apps` has no public name in Ray 2.60).
Serve's REST API needs Ray's dashboard, which is ten processes and here starts last. Together they would put seconds
before the first answer of a start.
"""

from typing import Any

from ray.serve._private.api import _create_controller_and_proxy_refs  # pyright: ignore[reportPrivateUsage]
from ray.serve._private.client import ServeControllerClient
from ray.serve.config import ControllerOptions, HTTPOptions
from ray.serve.schema import ServeDeploySchema


def start_serve(schema: ServeDeploySchema) -> tuple[ServeControllerClient, list[Any]]:
    """Start Serve's controller and the proxy of this node, as the schema's HTTP options say.

    Return a client that deploys (`deploy_apps`), and references that are ready once the proxies answer; waiting for
    one raises what kept its proxy from starting.
    """
    controller, proxies = _create_controller_and_proxy_refs(
        http_options=HTTPOptions.model_validate(schema.http_options.model_dump()),
        grpc_options=None,
        global_logging_config=None,
        global_tracing_config=None,
        controller_options=ControllerOptions(),
        proxy_location="HeadOnly",
    )
    return ServeControllerClient(controller), proxies

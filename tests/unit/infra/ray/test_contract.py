"""What this service uses of Ray's private and unstable interfaces is there, by name and by arguments.

A new version of Ray that moves one of them fails here, with its name, rather than somewhere in a cluster.
"""

import ast
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

DEPLOYMENTS = Path(__file__).parents[4] / "deployments"
CONTRACT: dict[str, tuple[str, ...]] = {
    "ray._private.grpc_utils:init_grpc_channel": ("address", "options", "asynchronous"),
    "ray._private.node:Node.__init__": ("ray_params", "head", "shutdown_at_exit", "spawn_reaper"),
    "ray._private.node:Node.start_api_server": ("include_dashboard", "raise_on_failure"),
    "ray._private.node:Node.start_raylet": (),
    "ray._private.node:Node.dead_processes": (),
    "ray._private.node:Node.kill_all_processes": ("check_alive", "allow_graceful"),
    "ray._private.parameter:RayParams.__init__": (
        "node_ip_address",
        "gcs_server_port",
        "dashboard_agent_listen_port",
        "dashboard_host",
        "dashboard_port",
        "include_dashboard",
        "include_log_monitor",
        "no_monitor",
        "num_cpus",
        "num_gpus",
        "object_store_memory",
        "temp_dir",
    ),
    "ray.experimental.internal_kv:_internal_kv_initialized": (),
    "ray.experimental.internal_kv:_internal_kv_get": ("key", "namespace"),
    "ray.experimental.internal_kv:_internal_kv_put": ("key", "value", "namespace"),
    "ray.serve._private.api:_create_controller_and_proxy_refs": (
        "http_options",
        "grpc_options",
        "global_logging_config",
        "global_tracing_config",
        "controller_options",
        "proxy_location",
    ),
    "ray.serve._private.constants:RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": (),
    "ray.serve.generated.serve_pb2_grpc:ASGIServiceStub": (),
    "ray.serve.request_router:RequestRouter.create_replica_wrapper": ("replica_info",),
    "ray.serve.request_router:RunningReplica.stub": (),
    "ray.serve._private.client:ServeControllerClient.__init__": ("controller",),
    "ray.serve._private.constants:SERVE_HTTP_REQUEST_DISCONNECT_DISABLED_HEADER": (),
    "ray.serve._private.controller:ServeController.get_app_configs": (),
    "ray.serve.context:_get_global_client": (),
    "ray.serve:get_deployment_handle": ("deployment_name", "app_name", "_check_exists"),
    "ray.serve.schema:ServeApplicationSchema": ("name", "import_path", "args"),
    "ray.serve._private.client:ServeControllerClient.deploy_apps": ("config",),
    "ray.serve._private.request_router.pow_2_router:PowerOfTwoChoicesRequestRouter.choose_replicas": (
        "candidate_replicas",
        "pending_request",
    ),
    "ray.serve.request_router:RequestRouter._backoff": ("attempt",),
    "ray.serve.request_router:RequestRouter._compute_backoff_s": ("attempt",),
    "ray.serve.request_router:RequestRouter.decrement_queue_len_cache": ("replica_id",),
    "ray.serve.request_router:RequestRouter.update_replicas": ("replicas",),
    "ray.serve.request_router:RequestRouter.on_replica_actor_died": ("replica_id",),
    "ray.serve.request_router:RequestRouter.curr_replicas": (),
    "ray.serve.request_router:RunningReplica.routing_stats": (),
    "ray.serve.request_router:PendingRequest": ("args",),
    "ray.serve.handle:DeploymentHandle.options": ("_by_reference",),
    "ray.serve.handle:DeploymentBroadcastResponse._fetch_replica_results_async": (),
    "ray.serve._private.replica:Replica._perform_graceful_shutdown": ("self",),
}
"""`module:name` to the arguments that are passed by name."""


@pytest.mark.parametrize("place", CONTRACT)
def test_ray_has_what_this_service_uses(place: str) -> None:
    module, _, name = place.partition(":")
    found: object = importlib.import_module(module)
    for part in name.split("."):
        assert hasattr(found, part), f"Ray has no {place} any more; deployments/infra/ray uses it"
        found = getattr(found, part)
    if CONTRACT[place]:
        assert callable(found)
        missing = set(CONTRACT[place]) - set(inspect.signature(found).parameters)
        assert not missing, f"{place} takes no {missing} any more; deployments/infra/ray passes it"


def private_modules(path: Path) -> Iterator[str]:
    """Yield the private and experimental modules of Ray that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        yield from (n for n in names if n.split(".")[0] == "ray" and {"_private", "experimental"} & set(n.split(".")))


def test_only_infra_ray_imports_private_modules() -> None:
    found = {path.relative_to(DEPLOYMENTS): set(private_modules(path)) for path in DEPLOYMENTS.rglob("*.py")}
    using = {path: modules for path, modules in found.items() if modules}
    assert using and {str(path) for path in using if path.parts[:2] != ("infra", "ray")} == set()


def test_every_private_module_is_in_the_contract() -> None:
    used = {module for path in (DEPLOYMENTS / "infra/ray").rglob("*.py") for module in private_modules(path)}
    assert used == {name for name in used if any(place.startswith(f"{name}:") for place in CONTRACT)}

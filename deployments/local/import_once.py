"""Imports once what the processes of a start import, so that Python has its byte code from then on.

Compiling every installed file instead takes three times as long, most of it for
code that no start imports. Run by the installation with `cpu` or `gpu`.
"""

import contextlib
import importlib
import multiprocessing
import sys

SERVICE = (
    "deployments.app",
    "deployments.api.server",
    "deployments.cache.lookup",
    "deployments.local.launcher",
    "deployments.infra.ray.node",
    "openai",
    "ray.serve._private.api",
    "ray.serve._private.build_app",
    "ray.serve._private.controller",
    "ray.serve._private.haproxy",
    "ray.serve._private.proxy",
    "ray.serve._private.replica",
    "ui.app",
)
# Parts that only some versions, or some machines, have.
INNER = (
    "ray._private.runtime_env.agent.runtime_env_agent",
    "ray.dashboard.agent",
    "ray.dashboard.head",
    "ray.dashboard.http_server_head",
    "ray.dashboard.modules.reporter.reporter_agent",
)
ENGINE = (
    "torch._inductor.compile_fx",
    "transformers",
    "vllm.model_executor.models.llama",
    "vllm.v1.engine.core",
    "vllm.v1.executor.multiproc_executor",
    "vllm.v1.worker.{flavour}_model_runner",
    "vllm.v1.worker.{flavour}_worker",
)


def import_all(required: tuple[str, ...], optional: tuple[str, ...]) -> None:
    """Import the modules; of the optional ones a failure is none."""
    for name in optional:
        # The engine's modules may want a GPU's driver; whether the model runs shows when it starts.
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    for name in required:
        importlib.import_module(name)


def main() -> int:
    """Import what the service and the engine need, side by side."""
    engine = tuple(name.format(flavour=sys.argv[1]) for name in ENGINE)
    other = multiprocessing.get_context("spawn").Process(target=import_all, args=(("torch",), engine))
    other.start()
    import_all(SERVICE, INNER)
    other.join()
    return other.exitcode or 0


if __name__ == "__main__":
    sys.exit(main())

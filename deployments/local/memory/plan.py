"""Who gets how much memory: a plan over all models of the service file, made before anything starts.

On a CPU a vLLM model that sets nothing asks for 92 % of the machine's memory, and on a GPU for 92 % of the
GPU's, so that no second one fits beside it. The plan gives each such model room for its weights and for the KV
cache of some sequences. What the file sets itself is left as it is and counted. Where a model's size is not
known, nothing is refused on its account.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor

from deployments.config import Settings, VLLMModel
from deployments.local.state import LauncherError
from deployments.models.files.footprint import Footprint, footprint

MIB, GIB = 1 << 20, 1 << 30

# Measured (shared pages counted once): Ray with its dashboard, the light replicas and the page 1.1 GiB;
# the three processes of vLLM with the demo model 1.4, without the KV cache.
BASE_BYTES = int(1.3 * GIB)
STAND_IN_BYTES = int(0.2 * GIB)
ENGINE_BYTES = int(1.6 * GIB)
GPU_ENGINE_BYTES = int(1.5 * GIB)
"""What CUDA, its graphs and the activations take beside weights and KV cache."""
GPU_SHARE = 0.92
"""As vLLM has it for one model that has a GPU alone."""

SEQUENCES, SEQUENCE_TOKENS = 8, 4_096
LEAST_TOKENS = 2_048
BLOCK_TOKENS = 512
"""Beside the sequences: vLLM keeps a block back, and rounds up to whole blocks, of 128 tokens on a CPU."""
UNKNOWN_KV_BYTES = GIB


@dataclass(frozen=True, slots=True)
class Machine:
    """What there is: bytes of memory that are free and in all, and those of each GPU."""

    available_bytes: int
    total_bytes: int
    gpu_bytes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Share:
    """What the plan sets for a model; None is left to vLLM."""

    kv_cache_bytes: int | None = None
    gpu_memory_utilization: float | None = None
    num_gpus: float | None = None


@dataclass(frozen=True, slots=True)
class _Need:
    """One model's bytes, over all its replicas: what is fixed, and its KV cache at the least and as wanted."""

    model: VLLMModel
    replicas: int
    size: Footprint
    fixed: int
    least: int
    wanted: int

    @property
    def is_free(self) -> bool:
        """Whether the plan may choose its KV cache."""
        return self.wanted > 0


def plan(settings: Settings, replicas: Mapping[str, int], machine: Machine) -> dict[str, Share]:
    """Return what each vLLM model gets, by its id; LauncherError says with the figures that it cannot fit."""
    models = _of_vllm(settings)
    base = _base_bytes(settings, replicas)
    if machine.gpu_bytes:
        _require(base + len(models) * ENGINE_BYTES, machine, [])
        return _on_gpus(models, replicas, machine.gpu_bytes)
    return _on_cpu([_need(model, replicas.get(model.deployment, 1), machine) for model in models], base, machine)


def needed_bytes(settings: Settings, replicas: Mapping[str, int], machine: Machine) -> int:
    """Return the bytes of memory that the plan counts for these models, which is about what they hold when they run."""
    models, base = _of_vllm(settings), _base_bytes(settings, replicas)
    if machine.gpu_bytes:
        return base + len(models) * ENGINE_BYTES
    needs = [_need(model, replicas.get(model.deployment, 1), machine) for model in models]
    return base + sum(need.fixed + need.least for need in needs)


def _of_vllm(settings: Settings) -> list[VLLMModel]:
    return [model for model in settings.models if isinstance(model, VLLMModel)]


def _base_bytes(settings: Settings, replicas: Mapping[str, int]) -> int:
    others = sum(replicas.get(one.deployment, 1) for one in settings.models if not isinstance(one, VLLMModel))
    return BASE_BYTES + others * STAND_IN_BYTES


def _on_cpu(needs: Sequence[_Need], base: int, machine: Machine) -> dict[str, Share]:
    fixed = base + sum(need.fixed for need in needs)
    least = sum(need.least for need in needs)
    _require(fixed + least, machine, needs)
    spare = machine.available_bytes - fixed - least
    requested = sum(need.wanted - need.least for need in needs)
    part = min(1.0, spare / requested) if requested else 0.0
    return {
        need.model.id: Share(ceil((need.least + floor((need.wanted - need.least) * part)) / need.replicas / MIB) * MIB)
        for need in needs
        if need.is_free
    }


def _need(model: VLLMModel, replicas: int, machine: Machine) -> _Need:
    size = footprint(model)
    own = replicas * (ENGINE_BYTES + _held_bytes(size))
    configured = _configured_bytes(model, machine)
    if configured is not None:
        return _Need(model, replicas, size, own + replicas * configured, 0, 0)
    if model.engine.get("gpu_memory_utilization") is not None:  # of the machine's memory, whatever its name
        share = int(float(model.engine["gpu_memory_utilization"]) * machine.total_bytes)
        return _Need(model, replicas, size, max(own, replicas * share), 0, 0)
    least, wanted = _kv_bytes(model, size)
    return _Need(model, replicas, size, own, replicas * least, replicas * wanted)


def _configured_bytes(model: VLLMModel, machine: Machine) -> int | None:
    """Return the KV cache that the file sets, in bytes."""
    gib = model.environment.get("VLLM_CPU_KVCACHE_SPACE", "")
    if gib.isdecimal():
        return int(gib) * GIB
    configured = model.engine.get("kv_cache_memory_bytes")
    return configured if isinstance(configured, int) else None


def _kv_bytes(model: VLLMModel, size: Footprint) -> tuple[int, int]:
    """Return the KV cache without which it cannot start, and one for some sequences at once."""
    per_token = size.kv_bytes_per_token
    if per_token is None:
        return 0, UNKNOWN_KV_BYTES
    requested = model.engine.get("max_model_len")
    context = size.context or SEQUENCE_TOKENS
    # Without a length, or with -1, vLLM needs one whole context, or takes what fits.
    one = min(context, LEAST_TOKENS) if requested == -1 else context
    sequences = min(SEQUENCES, model.max_sequences)
    wanted = max(one, sequences * min(context, SEQUENCE_TOKENS))
    return (one + BLOCK_TOKENS) * per_token, (wanted + BLOCK_TOKENS) * per_token


def _require(needed: int, machine: Machine, needs: Sequence[_Need]) -> None:
    if needed <= machine.available_bytes:
        return
    parts = "; ".join(f"{need.model.id}: {_described(need)}" for need in needs)
    raise LauncherError(
        f"{_gib(machine.available_bytes)} GiB of memory are available, this configuration needs about "
        f"{_gib(needed)} GiB{f' ({parts})' if parts else ''}: close other programs, or choose {_remedy(needs)}"
    )


def _described(need: _Need) -> str:
    weights = "unknown" if need.size.weights_bytes is None else f"{_gib(need.size.weights_bytes)}"
    times = f"{need.replicas} replicas, each " if need.replicas > 1 else ""
    kv = need.least or need.fixed - need.replicas * (ENGINE_BYTES + _held_bytes(need.size))
    places = f", places for adapters {_gib(need.size.adapters_bytes)}" if need.size.adapters_bytes else ""
    return f"{times}weights {weights}{places}, KV cache {_gib(max(0, kv) / need.replicas)}"


def _held_bytes(size: Footprint) -> int:
    """Return what a replica holds beside its KV cache, as far as it is known."""
    return (size.weights_bytes or 0) + size.adapters_bytes


def _remedy(needs: Sequence[_Need]) -> str:
    ways = ["fewer models"] if len(needs) > 1 else []
    ways += ["dtype bfloat16"] if any(need.model.engine.get("dtype") in ("float32", "float") for need in needs) else []
    long = any(
        need.least > (LEAST_TOKENS + BLOCK_TOKENS) * (need.size.kv_bytes_per_token or 0) * need.replicas
        for need in needs
    )
    ways += ["a smaller max_model_len"] if long else []
    ways += (
        ["a smaller VLLM_CPU_KVCACHE_SPACE"]
        if any("VLLM_CPU_KVCACHE_SPACE" in n.model.environment for n in needs)
        else []
    )
    return " or ".join([*ways, "a smaller model"])


def _on_gpus(models: Sequence[VLLMModel], replicas: Mapping[str, int], gpus: tuple[int, ...]) -> dict[str, Share]:
    """Let each replica have its GPUs alone where there are enough, else let those of one GPU share."""
    total = min(gpus)
    for model in models:
        _require_gpu(model, total)
    requested = sum(replicas.get(model.deployment, 1) * _gpus_of(model) for model in models)
    free = [model for model in models if _may_share(model)]
    if requested <= len(gpus) or not free:
        return {}
    taken = requested - sum(replicas.get(model.deployment, 1) for model in free)
    left = len(gpus) - taken
    if left < 1:
        raise LauncherError(
            f"{requested} GPUs are asked for (tensor_parallel_size, replicas), and this machine has {len(gpus)}: "
            "serve fewer models"
        )
    together = ceil(sum(replicas.get(model.deployment, 1) for model in free) / left)
    return _shared(free, replicas, together, total)


def _shared(models: Sequence[VLLMModel], replicas: Mapping[str, int], together: int, total: int) -> dict[str, Share]:
    """Divide a GPU so that whichever `together` replicas Ray puts on it fit."""
    sizes = {model.id: _gpu_bytes(model) for model in models}
    least = {name: size for name, (size, _) in sizes.items()}
    each = [model for model in models for _ in range(replicas.get(model.deployment, 1))]
    usable = int(total * GPU_SHARE)
    needed = sum(sorted((least[model.id] for model in each), reverse=True)[:together])
    if needed > usable:
        parts = "; ".join(f"{model.id}: {_gib(least[model.id])}" for model in models)
        raise LauncherError(
            f"{together} models share a GPU of {_gib(total)} GiB, and need about {_gib(needed)} GiB ({parts}): "
            "serve fewer models, or choose a smaller max_model_len, a quantized or a smaller model"
        )
    more = {name: wanted - size for name, (size, wanted) in sizes.items()}
    most = sum(sorted((more[model.id] for model in each), reverse=True)[:together])
    spare = usable - needed
    shares = {name: least[name] + int(spare * (more[name] / most if most else 1 / together)) for name in least}
    return {
        model.id: Share(
            kv_cache_bytes=_gpu_kv(model, shares[model.id]),
            gpu_memory_utilization=floor(shares[model.id] / total * 1000) / 1000,
            num_gpus=floor(100 / together) / 100,
        )
        for model in models
    }


def _require_gpu(model: VLLMModel, total: int) -> None:
    weights = footprint(model).weights_bytes
    gpus = _gpus_of(model)
    if weights is not None and weights > gpus * total * float(model.engine.get("gpu_memory_utilization") or GPU_SHARE):
        number = "GPU has" if gpus == 1 else f"{gpus} GPUs have together"
        raise LauncherError(
            f"the model {model.id} has weights of {_gib(weights)} GiB, and the {number} {_gib(gpus * total)}: choose a "
            "quantized or a smaller model, or set tensor_parallel_size to use more GPUs"
        )


def _gpu_bytes(model: VLLMModel) -> tuple[int, int]:
    size = footprint(model)
    least, wanted = _kv_bytes(model, size)
    own = GPU_ENGINE_BYTES + _held_bytes(size)
    return own + least, own + wanted


def _gpu_kv(model: VLLMModel, share: int) -> int | None:
    """Return the KV cache within a share; set, so that models which load at once do not measure each other's memory."""
    weights = footprint(model).weights_bytes
    return None if weights is None else max(0, share - weights - GPU_ENGINE_BYTES) // MIB * MIB


def _gpus_of(model: VLLMModel) -> int:
    sizes = (model.engine.get(name) or 1 for name in ("tensor_parallel_size", "pipeline_parallel_size"))
    product = 1
    for size in sizes:
        product *= int(size)
    return product


def _may_share(model: VLLMModel) -> bool:
    return _gpus_of(model) == 1 and not {"gpu_memory_utilization", "kv_cache_memory_bytes"} & model.engine.keys()


def _gib(size: float) -> str:
    return f"{size / GIB:.1f}"

"""The errors of engines and of what they are made of, each known by a pattern, with a sentence and its remedy.

The first pattern that is found is taken.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pattern:
    """What an error's text is known by, and its sentence, whose `{names}` are the pattern's groups."""

    code: str
    pattern: re.Pattern[str]
    sentence: str
    may_pass: bool = False


def _p(code: str, pattern: str, sentence: str, *, may_pass: bool = False) -> Pattern:
    return Pattern(code, re.compile(pattern, re.DOTALL), sentence, may_pass)


GATED = (
    "{repo} is a gated repository: accept its license on its page at the hub, and set HF_TOKEN to a token of "
    "that account."
)
PATTERNS = (
    # --- memory
    _p(
        "out_of_memory",
        r"CUDA out of memory\. Tried to allocate (?P<asked>[\d.]+ \w+).{0,60}?total capacity of (?P<total>[\d.]+ \w+) "
        r"of which (?P<free>[\d.]+ \w+) is free",
        "The GPU's memory is full: {asked} were asked for, {free} of {total} are free. Lower gpu_memory_utilization "
        "or max_num_seqs, serve fewer models on this GPU, or take a smaller or quantized model.",
        may_pass=True,
    ),
    _p(
        "out_of_memory",
        r"(CUDA|HIP) (error: )?out of memory|OutOfMemoryError",
        "The GPU's memory is full. Lower gpu_memory_utilization or max_num_seqs, serve fewer models on this GPU, "
        "or take a smaller or quantized model.",
        may_pass=True,
    ),
    _p(
        "out_of_memory",
        r"Free memory on device .{0,40}?\((?P<free>[\d.]+)/(?P<total>[\d.]+) GiB\) on startup is less than.*?"
        r"\((?P<share>[\d.]+), (?P<asked>[\d.]+) GiB\)",
        "{free} of the GPU's {total} GiB are free, and gpu_memory_utilization {share} asks for {asked} GiB: lower it, "
        "or end what else uses this GPU.",
        may_pass=True,
    ),
    _p(
        "context_too_long",
        r"max seq len \((?P<length>\d+)\), \(?(?P<asked>[\d.]+) GiB KV cache is needed, which is larger than the "
        r"available KV cache memory \((?P<free>[\d.]+) GiB\)(?:.*?maximum model length is (?P<most>\d+))?",
        "One request of {length} tokens needs {asked} GiB of KV cache, and {free} GiB are left for it: set "
        "max_model_len to {most} at most, or -1 for what fits.",
    ),
    _p(
        "out_of_memory",
        r"No available memory for the cache blocks",
        "The weights leave no memory for the KV cache: raise gpu_memory_utilization, or take a smaller or quantized "
        "model.",
    ),
    _p(
        "out_of_memory",
        r"\((?P<free>[\d.]+)/(?P<total>[\d.]+) GiB\) on startup is less than desired CPU memory utilization "
        r"\((?P<share>[\d.]+), (?P<asked>[\d.]+) GiB\)",
        "{free} of {total} GiB of memory are free, and gpu_memory_utilization {share} asks for {asked} GiB: set "
        "kv_cache_memory_bytes, or lower it.",
    ),
    _p(
        "out_of_memory",
        r"is less than requested memory for kv \(-[\d.]+/(?P<share>[\d.]+) GiB\)",
        "The model alone takes more than its share of the memory, {share} GiB, and leaves nothing for its KV cache: "
        "raise gpu_memory_utilization, or set kv_cache_memory_bytes.",
    ),
    _p(
        "out_of_memory",
        r"Available memory on node \S+ \((?P<free>[\d.]+)/(?P<total>[\d.]+) GiB\) on kv cache allocation is less than "
        r"requested memory for kv \((?P<asked>-?[\d.]+)",
        "{free} of {total} GiB of memory are free, and the KV cache asks for {asked} GiB: set kv_cache_memory_bytes or "
        "VLLM_CPU_KVCACHE_SPACE (GiB) lower, or end other programs.",
    ),
    _p(
        "out_of_memory",
        r"(DefaultCPUAllocator: can't allocate memory: you tried to allocate (?P<asked>\d+) bytes|MemoryError|"
        r"Cannot allocate memory)",
        "The machine's memory is full: end other programs, take a smaller model, or a smaller dtype.",
        may_pass=True,
    ),
    # --- files
    _p(
        "no_space",
        r"No space left on device|Disk quota exceeded|Not enough free disk space",
        "The disk is full: free some space, or let HF_HOME and TMPDIR name folders on a larger one.",
        may_pass=True,
    ),
    _p(
        "corrupt_weights",
        r"(?:SafetensorError|safetensors).*?(?:Error while deserializing|IncompleteMetadata|InvalidHeader|"
        r"HeaderTooLarge|MetadataIncomplete|incomplete metadata)",
        "A weights file is damaged or was not downloaded completely (safetensors cannot read it): delete it and "
        "download it again.",
    ),
    _p(
        "corrupt_weights",
        r"PytorchStreamReader failed|OverflowError: cannot fit 'int' into an index-sized integer|invalid load key|"
        r"failed finding central directory",
        "A weights file is damaged or was not downloaded completely: delete it and download it again.",
    ),
    _p(
        "no_weights",
        r"Cannot find any model weights with [`'\"]?(?P<path>[^`'\"\n]+)",
        "{path} holds no weights (*.safetensors, *.bin): download the model again, or set load_format.",
    ),
    _p(
        "wrong_weights",
        r"weights were not initialized from checkpoint: (?P<names>.{1,120})",
        "The weights do not fit the model's config.json (missing: {names}…): download the model again.",
    ),
    _p(
        "wrong_weights",
        r"(?:Attempted to load weight \(.{1,80}?\) into parameter \(|size mismatch|param_data\.shape == "
        r"loaded_weight\.shape|shape mismatch|exceeds dimension size|The size of tensor a)",
        "The weights do not fit the model's config.json (another shape): download the model again.",
    ),
    _p(
        "no_config",
        r"(?:Invalid repository ID or local directory specified: '(?P<path>[^']+)'|(?P<path2>\S+) does not appear to "
        r"have a file named config\.json)",
        "{path} holds no config.json: it is not a model, or was not downloaded completely.",
    ),
    _p(
        "no_tokenizer",
        r"Can't load tokenizer for '(?P<path>[^']+)'|Couldn't instantiate the backend tokenizer|"
        r"Unable to load vocabulary from file|does not contain a tokenizer|Failed to load tokenizer",
        "The model's tokenizer cannot be read: tokenizer.json (or tokenizer.model) is missing or damaged. Download it "
        "again, or set engine.tokenizer.",
    ),
    _p(
        "not_permitted",
        r"PermissionError: \[Errno 13\] Permission denied: '(?P<path>[^']+)'",
        "{path} may not be read by this service: change its owner or mode.",
    ),
    # --- the hub
    _p("gated", r"(?:gated repo|GatedRepoError|Access to model (?P<repo>\S+) is restricted)", GATED),
    _p(
        "gated",
        r"401 Client Error.{0,200}?(?:for url: \S*?/(?P<repo>[\w.-]+/[\w.-]+)/(?:resolve|raw|tree)|)",
        "The hub refused the download (401): the repository is private or gated, or does not exist; check its name, "
        "and set HF_TOKEN to a token that may read it.",
    ),
    _p(
        "not_found",
        r"(?:RepositoryNotFoundError|404 Client Error|is not a local folder and is not a valid model identifier|"
        r"Repo id must be in the form|HFValidationError)",
        "There is no such model, neither a folder of this machine nor a repository of the hub: check engine.model, and "
        "HF_TOKEN if it is private.",
    ),
    _p(
        "offline",
        r"OfflineModeIsEnabled|HF_HUB_OFFLINE|offline mode is enabled|outgoing traffic has been disabled",
        "The model is not on this machine, and HF_HUB_OFFLINE forbids downloading it: unset that, or name a folder.",
    ),
    _p(
        "no_network",
        r"couldn't connect to '(?P<url>[^']+)'|Name or service not known|Temporary failure in name resolution|"
        r"Network is unreachable|LocalEntryNotFoundError|Max retries exceeded|Connection(?:Reset|Refused)?Error",
        "The model is not on this machine, and the hub cannot be reached to download it: check the network, or name a "
        "folder.",
        may_pass=True,
    ),
    # --- what the model is
    _p(
        "remote_code",
        r"trust_remote_code=True",
        "The model brings Python code of its own: read it, and set trust_remote_code to true to run it.",
    ),
    _p(
        "unknown_architecture",
        r"Model architectures \[(?P<name>[^\]]+)\] (?:are not supported|failed to be inspected)",
        "This vLLM does not know the architecture {name}: update vLLM, or take another model.",
    ),
    _p(
        "unknown_architecture",
        r"has model type `(?P<name>[^`]+)` but Transformers does not recognize",
        "Neither vLLM nor Transformers knows the model type {name}: update them, or take another model.",
    ),
    _p(
        "wrong_dtype",
        r"(?:Bfloat16 is only supported on GPUs with compute capability.*?Your (?P<gpu>.+?) (?:GPU )?has compute "
        r"capability (?P<capability>\d+(?:\.\d+)?))",
        "This GPU ({gpu}, compute capability {capability}) cannot compute in bfloat16: set dtype to half.",
    ),
    _p(
        "wrong_dtype",
        r"(?:Unknown dtype: (?P<name>\S+)|\ndtype\.literal|does not support dtype|not implemented for "
        r"'(?P<name2>Half|BFloat16|Float8\w*)'|The model type .{1,60} does not support float16)",
        "This device or model cannot compute with that dtype: set dtype to auto, bfloat16, half or float32.",
    ),
    _p(
        "quantization",
        r"(?P<reason>Unknown quantization method: \S+|Quantization method specified in the model config \(.+?\) does "
        r"not match[^\n]*|Cannot find the config file for \w+|\w+ quantization is currently not supported[^\n]*|"
        r"The quantization method \S+ is not supported[^\n]*)",
        "The model cannot be served with this quantization ({reason}): remove engine.quantization, or take weights "
        "that have it.",
    ),
    # --- settings
    _p(
        "bad_argument",
        r"got an unexpected keyword argument '(?P<name>\w+)'",
        "vLLM has no engine argument {name}: correct it in the service file under engine.",
    ),
    _p(
        "context_too_long",
        r"max_model_len \((?P<length>\d+)\) is greater than the derived max_model_len \(\S*?=(?P<most>[\d.]+)",
        "max_model_len is {length}, and the model's own context is {most}: set it to {most} at most.",
    ),
    _p(
        "bad_argument",
        r"validation errors? for \w+\n(?P<name>\S+)\n\s+(?P<reason>[^\[\n]+)",
        "vLLM refuses the engine argument {name} ({reason}): correct it in the service file under engine.",
    ),
    _p(
        "bad_argument",
        r"validation errors? for \w+\n\s+Value error, (?P<reason>[^\n]+?)(?: \[type=|\n)",
        "vLLM refuses the engine arguments ({reason}): correct them in the service file under engine.",
    ),
    _p(
        "bad_argument",
        r"(?:tool_parser:'(?P<name>[^']+)' which has not been registered|invalid tool call parser: (?P<name2>\S+))",
        "vLLM has no tool parser {name}: correct chat.tool_parser.",
    ),
    _p(
        "bad_argument",
        r"(?:reasoning_parser_name='(?P<name>[^']+)' has not been registered|Reasoning parser '(?P<name2>[^']+)' not "
        r"found|[Ii]nvalid reasoning parser: (?P<name3>\S+))",
        "vLLM has no reasoning parser {name}: correct chat.reasoning_parser.",
    ),
    _p(
        "bad_argument", r"(?P<reason>the option '\w+' under 'chat:' is unknown[^\n]*)", "In the service file, {reason}."
    ),
    # --- the machine
    _p(
        "no_compiler",
        r"Failed to find C compiler|No working C\+\+ compiler found|InvalidCxxCompiler|gcc: (?:command )?not found|"
        r"Python\.h: No such file",
        "vLLM compiles when it starts, and no working compiler is here: apt install g++ python3.11-dev, or set "
        "enforce_eager to true.",
    ),
    _p(
        "too_few_gpus",
        r"World size \((?P<asked>\d+)\) is larger than the number of available GPUs \((?P<found>\d+)\)",
        "{asked} GPUs are asked for (tensor_parallel_size, pipeline_parallel_size), and this machine has {found}.",
    ),
    _p(
        "no_gpu",
        r"No CUDA GPUs are available|Found no NVIDIA driver|no CUDA-capable device|Failed to infer device type",
        "No GPU can be used here: check `nvidia-smi`, and that ray_actor_options of this model has num_gpus.",
    ),
    _p(
        "no_gpu",
        r"NVIDIA driver on your system is too old[^\n]*",
        "The NVIDIA driver is too old for this vLLM: update it.",
    ),
    _p(
        "missing_package",
        r"(?:ModuleNotFoundError|ImportError): No module named '(?P<name>[\w.]+)'",
        "The Python package {name} is missing: install it.",
    ),
    _p(
        "killed",
        r"Failed core proc\(s\): \{[^}]*: -9\b|WORKER_DIED|OutOfMemory|worker (?:process )?(?:was|has been) killed|"
        r"SIGKILL|unexpected(?:ly)? (?:system error|before finishing)|actor (?:is dead|died)|ActorDiedError",
        "The model's process was killed while it loaded, as by the kernel when memory is short: free memory, take a "
        "smaller model, or look into the kernel's log (dmesg).",
        may_pass=True,
    ),
)
"""What is looked for in one error, in this order; the named groups stand in the sentence."""

"""Why a model did not load: one sentence with its remedy, out of what vLLM really prints."""

import pickle
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.models.loading.failure import ModelLoadFailed, classify, diagnose, errors_in, in_message
from deployments.models.loading.failure_patterns import PATTERNS

RECORDED: dict[str, dict[str, str]] = yaml.safe_load(
    (Path(__file__).parent / "load_errors.yaml").read_text(encoding="utf-8")
)
"""What vLLM 0.32 printed on a CPU for damaged models and wrong settings, without the frames in between."""

NO_CAUSE = (
    "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}"
)


@pytest.mark.parametrize("name", RECORDED)
def test_what_vllm_printed_becomes_a_sentence(name: str) -> None:
    found = diagnose(RECORDED[name]["printed"], RuntimeError(NO_CAUSE))
    assert (found.code, found.sentence) == (RECORDED[name]["code"], RECORDED[name]["sentence"])


@pytest.mark.parametrize(
    ("text", "code", "part"),
    [
        (
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of "
            "79.25 GiB of which 1.12 GiB is free. Process 1 has 78.1 GiB memory in use.",
            "out_of_memory",
            "2.00 GiB were asked for, 1.12 GiB of 79.25 GiB are free",
        ),
        (
            "ValueError: Free memory on device cuda:0 (5.20/79.25 GiB) on startup is less than desired GPU memory "
            "utilization (0.92, 72.91 GiB). Decrease GPU memory utilization or reduce GPU memory used by other "
            "processes.",
            "out_of_memory",
            "5.20 of the GPU's 79.25 GiB are free, and gpu_memory_utilization 0.92 asks for 72.91 GiB",
        ),
        (
            "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`",
            "out_of_memory",
            "The weights leave no memory for the KV cache",
        ),
        ("OSError: [Errno 28] No space left on device", "no_space", "The disk is full"),
        (
            "OSError: You are trying to access a gated repo.\nMake sure to have access to it at https://huggingface.co/x",
            "gated",
            "accept its license",
        ),
        (
            "huggingface_hub.errors.HfHubHTTPError: 401 Client Error. (Request ID: Root=1-2) Cannot access url",
            "gated",
            "HF_TOKEN",
        ),
        (
            "huggingface_hub.errors.RepositoryNotFoundError: 404 Client Error. (Request ID: x)",
            "not_found",
            "There is no such model",
        ),
        (
            "ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0. Your Tesla T4 GPU "
            "has compute capability 7.5. You can use float16 instead",
            "wrong_dtype",
            "This GPU (Tesla T4, compute capability 7.5) cannot compute in bfloat16: set dtype to half",
        ),
        ("RuntimeError: Failed to find C compiler. Please specify via CC", "no_compiler", "apt install g++"),
        (
            "torch._inductor.exc.InvalidCxxCompiler: No working C++ compiler found in torch._inductor.config.cpp.cxx",
            "no_compiler",
            "enforce_eager",
        ),
        (
            "ValueError: World size (4) is larger than the number of available GPUs (1) in this node.",
            "too_few_gpus",
            "4 GPUs are asked for (tensor_parallel_size, pipeline_parallel_size), and this machine has 1",
        ),
        (
            "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): "
            "{'EngineCore': -9}",
            "killed",
            "was killed while it loaded",
        ),
        ("RuntimeError: No CUDA GPUs are available", "no_gpu", "nvidia-smi"),
        ("ModuleNotFoundError: No module named 'tiktoken'", "missing_package", "package tiktoken is missing"),
        (
            "ValueError: The repository a/b contains custom code which must be executed to correctly load the model. "
            "Please pass the argument `trust_remote_code=True` to allow custom code to be run.",
            "remote_code",
            "set trust_remote_code to true",
        ),
        (
            "PermissionError: [Errno 13] Permission denied: '/models/a/config.json'",
            "not_permitted",
            "/models/a/config.json may not be read",
        ),
        (
            "ValueError: the option 'tool_parsre' under 'chat:' is unknown; there are: x",
            "bad_argument",
            "'tool_parsre'",
        ),
    ],
)
def test_what_cannot_be_produced_here_becomes_one_too(text: str, code: str, part: str) -> None:
    found = classify(text)
    assert found is not None and found.code == code
    assert part in found.sentence
    assert "{" not in found.sentence


def test_the_first_cause_counts_and_not_what_followed_from_it() -> None:
    printed = (
        "(EngineCore pid=7) ERROR 11-26 23:18:36 [core.py:1510] Traceback (most recent call last):\n"
        '(EngineCore pid=7) ERROR 11-26 23:18:36 [core.py:1510]   File "x.py", line 1, in load\n'
        "(EngineCore pid=7) ERROR 11-26 23:18:36 [core.py:1510] OSError: [Errno 28] No space left on device\n"
        "Traceback (most recent call last):\n"
        '  File "y.py", line 2, in start\n'
        "torch.OutOfMemoryError: CUDA out of memory.\n"
    )
    assert diagnose(printed, RuntimeError(NO_CAUSE)).code == "no_space"


def test_the_cause_of_what_was_raised_counts_where_nothing_was_printed() -> None:
    try:
        try:
            raise OSError(28, "No space left on device")
        except OSError as error:
            raise RuntimeError(NO_CAUSE) from error
    except RuntimeError as raised:
        assert diagnose("", raised).code == "no_space"


def test_an_unknown_error_is_told_in_its_own_first_line() -> None:
    found = diagnose("", ValueError("the moon is not up\nand more"))
    assert (found.code, found.sentence, found.may_pass) == ("unknown", "ValueError: the moon is not up", True)
    assert diagnose("", RuntimeError(NO_CAUSE)).sentence.startswith("The engine ended without a reason")


def test_a_warning_that_names_an_error_is_none() -> None:
    assert list(errors_in("WARNING 11-26 [x.py:1] CUDA out of memory, retrying\nINFO all is well\n")) == []


def test_a_sentence_has_a_bound_whatever_was_printed() -> None:
    assert len(diagnose("", ValueError("x" * 1_000_000)).sentence) < 700


@pytest.mark.parametrize("text", ["CUDA out of memory. Tried to allocate ", "max seq len (", "(a", "A", "safetensors"])
def test_a_hostile_output_is_read_in_reasonable_time(text: str) -> None:
    began = time.process_time()
    for before in ("RuntimeError: ", "", "("):
        diagnose(f"Traceback (most recent call last):\n{before}{text * 100_000}\n")
        classify(text * 100_000)
    assert time.process_time() - began < 3


def test_the_sentence_survives_pickling_and_stands_in_what_serve_says() -> None:
    error = ModelLoadFailed("The disk is full: free some space.", "no_space", True)
    copied: Any = pickle.loads(pickle.dumps(error))
    assert (str(copied), copied.failure) == (str(error), error.failure)
    message = (
        f"The deployment failed to start 3 times in a row. Error:\nTraceback:\n  x\n{type(error).__name__}: {error}\n"
    )
    found = in_message(message)
    assert found is not None and found.sentence == "The disk is full: free some space."
    killed = in_message("Error:\nThe actor died unexpectedly before finishing this task.\n\tclass_name: ServeReplica")
    assert killed is not None and killed.code == "killed"
    assert in_message("") is None


def test_each_pattern_says_what_to_do() -> None:
    assert all(one.sentence.startswith(("vLLM", "{", "max_model_len")) or one.sentence[0].isupper() for one in PATTERNS)
    assert all(one.sentence.endswith(".") for one in PATTERNS)

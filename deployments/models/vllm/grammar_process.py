"""The process in which grammars are compiled on trial, each in a child that the kernel ends when its time is up.

    python -m deployments.models.vllm.grammar_process SOCKET TOKENIZER LIMIT_S

It reads xgrammar's description of the tokenizer from the file TOKENIZER, listens at
the Unix socket SOCKET, and forks for every connection, so that a compilation that
does not end, or breaks xgrammar, costs one child. Over a connection go the child's
pid, then the `Trial` from the client, then the outcome, each a line of JSON. The
process ends when its standard input does.
"""

import contextlib
import json
import os
import resource
import select
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

MAX_THREADS = 4
NICENESS = 5
MEMORY_BYTES = 4 << 30
"""What a child may allocate beside what it shares with this process."""
WATCH_S = 1.0


def serve(path: str, tokenizer_file: str, limit_s: float) -> None:
    """Answer connections until the standard input ends."""
    import xgrammar

    tokenizer = xgrammar.TokenizerInfo.deserialize_json(Path(tokenizer_file).read_text(encoding="utf-8"))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(64)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            ready, _, _ = select.select([listening, sys.stdin], [], [])
            if sys.stdin in ready:
                return
            connection, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                _child(connection, tokenizer, limit_s)
            connection.close()


def _child(connection: socket.socket, tokenizer: Any, limit_s: float) -> None:
    """Answer one connection and end."""
    status = 1
    try:
        seconds = max(1, round(limit_s))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
        signal.signal(signal.SIGXCPU, signal.SIG_DFL)
        with contextlib.suppress(ValueError, OSError):  # a stricter limit is there already
            resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
        os.nice(NICENESS)
        connection.sendall(json.dumps(os.getpid()).encode() + b"\n")
        with connection.makefile("rb") as lines:
            trial = json.loads(lines.readline())
        threading.Thread(target=_end_with, args=(connection,), daemon=True).start()
        connection.sendall(json.dumps(_outcome(trial, tokenizer)).encode() + b"\n")
        status = 0
    finally:
        os._exit(status)


def _end_with(connection: socket.socket) -> None:
    """End this process when the client has gone."""
    connection.recv(1)
    os._exit(1)


def _outcome(trial: dict[str, Any], tokenizer: Any) -> dict[str, Any]:
    import xgrammar

    compiler = xgrammar.GrammarCompiler(tokenizer, max_threads=MAX_THREADS, cache_enabled=False)
    try:
        compile_grammar(compiler, trial["kind"], trial["spec"], trial["any_whitespace"])
    except Exception as error:  # noqa: BLE001 - xgrammar raises what it likes for what it cannot read
        return {"is_valid": False, "error": type(error).__name__}
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {"is_valid": True, "cpu_s": used.ru_utime + used.ru_stime}


def compile_grammar(compiler: Any, kind: str, spec: str, any_whitespace: bool) -> None:
    """Compile as vLLM's engine does (`vllm/v1/structured_output/backend_xgrammar.py`)."""
    match kind:
        case "json":
            separators = None if any_whitespace else (",", ":")
            compiler.compile_json_schema(spec, any_whitespace=any_whitespace, separators=separators)
        case "regex":
            compiler.compile_regex(spec)
        case "lark":
            compiler.compile_lark(spec)
        case "grammar":
            compiler.compile_grammar(spec)
        case "structural_tag":
            _compile_structural_tag(compiler, spec)
        case other:
            raise ValueError(other)


def _compile_structural_tag(compiler: Any, spec: str) -> None:
    import xgrammar

    tag = json.loads(spec)
    if "structures" not in tag:
        compiler.compile_structural_tag(spec)
        return
    tags = [
        xgrammar.StructuralTagItem(begin=one["begin"], schema=json.dumps(one["schema"]), end=one["end"])
        for one in tag["structures"]
    ]
    compiler.compile_structural_tag(tags, tag["triggers"])


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], float(sys.argv[3]))

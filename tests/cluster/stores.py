"""A Postgres and two Valkeys that other machines reach: python -m tests.cluster.stores FOLDER ADDRESS.

The second Valkey evicts nothing: it keeps what the head of a Ray cluster must find again after its end.
"""

import signal
import subprocess
import sys
from pathlib import Path

from deployments.local.servers import postgres
from deployments.local.servers.valkey import _program
from deployments.local.state import StateFolder

CACHE_PORT, RAY_PORT, POSTGRES_PORT = 6379, 6380, 5432


def urls(address: str) -> dict[str, str]:
    """Return the variables by which the product and Ray find these stores."""
    return {
        "DATABASE_URL": f"postgresql://chatllm@{address}:{POSTGRES_PORT}/chatllm",
        "REDIS_URL": f"redis://{address}:{CACHE_PORT}/0",
        "RAY_REDIS_ADDRESS": f"{address}:{RAY_PORT}",
    }


def main(folder: Path, address: str) -> None:
    """Run them until a signal comes."""
    rules = folder / "pg_hba.conf"
    rules.write_text("local all all trust\nhost chatllm chatllm samenet trust\n")
    postgres.SETTINGS |= {"listen_addresses": address, "hba_file": str(rules)}
    server = postgres.PostgresServer(StateFolder.open(folder / "state"))
    server.start()
    for port, *options in (
        (CACHE_PORT, "--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru", "--save", ""),
        (RAY_PORT, "--maxmemory-policy", "noeviction", "--appendonly", "yes", "--save", ""),
    ):
        place = folder / str(port)
        place.mkdir(exist_ok=True)
        given = ["--bind", address, "--port", str(port), "--protected-mode", "no", "--dir", str(place)]
        subprocess.Popen([_program(), *given, *options])
    signal.pause()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])

"""Backups: everything that must survive, in one file, made while the service runs.

The file is a tar archive (POSIX.1-1988 ustar with GNU's large sizes) of `api.key`, where this installation has one, and
`database.dump`, an archive of `pg_dump --format=custom`, which pg_restore reads. pg_dump works in one snapshot, so that
what it writes is consistent however much is written meanwhile.
"""

import asyncio
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, cast
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import asyncpg

from deployments.infra.postgres.schema import migrations
from deployments.local import keys
from deployments.local.servers.external import require_postgres
from deployments.local.servers.postgres import programs_folder
from deployments.local.state import LauncherError

DUMP = "database.dump"
PGDMP = b"PGDMP"
"""With these bytes an archive of pg_dump's begins (`src/bin/pg_dump/pg_backup_archiver.c`)."""
MAX_KEY_BYTES = 1_000
RESTORED, BEFORE = "chatllm_restored", "chatllm_before"
TIMEOUT_S = 30
CHUNK = 1_048_576


def back_up(url: str, key: Path, target: Path) -> int:
    """Write a backup of the database at `url` and return its size in bytes; whole or not at all.

    Raises LauncherError: the database cannot be reached or is newer than our pg_dump, or the file cannot be written.
    """
    require_postgres(url)
    try:
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as file:
            temporary = Path(file.name)  # readable by its owner alone
            try:
                _write(cast(IO[bytes], file), url, key)
                file.flush()
                os.fsync(file.fileno())
                temporary.replace(target)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise LauncherError(f"cannot write {target}: {error.strerror}") from None
    return target.stat().st_size


def require_restorable(file: Path) -> None:
    """Read the names of what a backup holds; LauncherError if it is none, is cut off, or is of a later version."""
    listed = _run("pg_restore", ["--list"], file)
    if b"TABLE DATA public migrations" not in listed:
        raise LauncherError(f"{file} is a dump of another database: it has no ChatLLM's tables")
    rows = _run("pg_restore", ["--data-only", "--table=migrations", "--file=-"], file).decode()
    applied = {int(number) for number in re.findall(r"^(\d+)\t", rows, re.MULTILINE)}
    if unknown := applied - {migration.number for migration in migrations()}:
        raise LauncherError(
            f"{file} is of a later version, with migration {max(unknown)} of the database: restore it with that version"
        )


def is_empty(url: str) -> bool:
    """Whether a database has no tables; LauncherError if it cannot be reached."""
    require_postgres(url)
    count = asyncio.run(_value(url, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"))
    return count == 0


def restore(file: Path, url: str) -> None:
    """Fill the empty database at `url`, whole or not at all; LauncherError says what failed."""
    options = ["--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges"]
    _run("pg_restore", [*options, f"--dbname={_address(url)}"], file, url)


def restore_in_place(file: Path, url: str) -> None:
    """Put a backup in the place of the embedded database, which stays as it was until all of that has been read.

    `url` is the embedded server's; nothing else may be connected.
    """
    beside = url.replace("/chatllm?", f"/{RESTORED}?")
    postgres = url.replace("/chatllm?", "/postgres?")
    asyncio.run(_each(postgres, f"DROP DATABASE IF EXISTS {RESTORED}", f"CREATE DATABASE {RESTORED}"))
    try:
        restore(file, beside)
    except BaseException:
        asyncio.run(_each(postgres, f"DROP DATABASE IF EXISTS {RESTORED} WITH (FORCE)"))
        raise
    swap = f"ALTER DATABASE chatllm RENAME TO {BEFORE}; ALTER DATABASE {RESTORED} RENAME TO chatllm"
    drop = f"DROP DATABASE IF EXISTS {BEFORE}"
    asyncio.run(_each(postgres, drop, f"BEGIN; {swap}; COMMIT", drop))


def restore_key(file: Path, path: Path) -> bool:
    """Write the first key where the launcher keeps it; returns whether the backup has one."""
    if not tarfile.is_tarfile(file):
        return False
    with tarfile.open(file) as archive:
        member = next((one for one in archive if one.name == keys.FILE and one.isfile()), None)
        content = archive.extractfile(member) if member and member.size <= MAX_KEY_BYTES else None
        if content is None:
            return False
        keys.write_secret(path, content.read().decode().strip())
    return True


def _write(file: IO[bytes], url: str, key: Path) -> None:
    """Write the archive; the dump's size stands before it and is known after it."""
    if key.exists():
        secret = key.read_bytes()
        file.write(_header(keys.FILE, len(secret)) + secret + _padding(len(secret)))
    at = file.tell()
    file.write(_header(DUMP, 0))
    options = ["--format=custom", "--no-password", f"--dbname={_address(url)}"]
    # Through a pipe: into a file it would write where things are within that, which holds more than the dump.
    with _program("pg_dump", options, url, "pg_dump failed", stdout=subprocess.PIPE) as dumping:
        assert dumping.stdout is not None
        shutil.copyfileobj(dumping.stdout, file, CHUNK)
    size = file.tell() - at - tarfile.BLOCKSIZE
    file.write(_padding(size) + bytes(2 * tarfile.BLOCKSIZE))
    file.seek(at)
    file.write(_header(DUMP, size))


def _header(name: str, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, 0o600, int(time.time())
    return member.tobuf(tarfile.GNU_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)


def _run(program: str, options: Sequence[str], file: Path, url: str = "") -> bytes:
    """Run one of Postgres's programs with the dump as its input and return what it prints."""
    with _dump(file) as dump, tempfile.TemporaryFile() as output:
        failure = f"{file} cannot be restored"
        with _program(program, options, url, failure, stdin=subprocess.PIPE, stdout=output) as running:
            assert running.stdin is not None
            with suppress(BrokenPipeError), running.stdin:  # it does not read all where it needs or understands less
                shutil.copyfileobj(dump, running.stdin, CHUNK)
        output.seek(0)
        return output.read()


@contextmanager
def _program(
    name: str,
    options: Sequence[str],
    url: str,
    failure: str,
    stdin: int | None = None,
    stdout: int | IO[bytes] | None = None,
) -> Generator[subprocess.Popen[bytes]]:
    """Run one of Postgres's programs while the block serves it; LauncherError begins with `failure` if that fails."""
    command = [str(programs_folder() / name), *options]
    with tempfile.TemporaryFile() as errors:
        with subprocess.Popen(  # noqa: S603 - our own program
            command, stdin=stdin, stdout=stdout, stderr=errors, env=_environment(url)
        ) as running:
            try:
                yield running
            except BaseException:
                running.kill()
                raise
        errors.seek(0)
        if running.returncode:
            raise LauncherError(f"{failure}: {_last_line(errors.read())}")


@contextmanager
def _dump(file: Path) -> Generator[IO[bytes]]:
    """Give the dump within a backup, or a file that pg_dump has written itself."""
    try:
        with file.open("rb") as bare:
            if bare.read(len(PGDMP)) == PGDMP:
                bare.seek(0)
                yield bare
                return
        with tarfile.open(file) as archive:
            dump = archive.extractfile(DUMP)
            if dump is None:
                raise KeyError(DUMP)
            yield dump
    except OSError as error:
        raise LauncherError(f"cannot read {file}: {error.strerror or error}") from None
    except (tarfile.TarError, KeyError):
        raise LauncherError(f"{file} is not a whole backup of chatllm's, nor an archive of pg_dump's") from None


def _address(url: str) -> str:
    """Return a database's address without its password, which others could see among this process's arguments."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")  # a password may hold an @ that nobody escaped
    netloc = user.partition(":")[0] + at + host
    query = urlencode([pair for pair in parse_qsl(parts.query) if pair[0] != "password"], quote_via=quote)
    return parts._replace(netloc=netloc, query=query).geturl()


def _environment(url: str) -> dict[str, str]:
    parts = urlsplit(url)
    password = dict(parse_qsl(parts.query)).get("password") or unquote(parts.password or "")
    return {**os.environ, **({"PGPASSWORD": password} if password else {})}


def _last_line(output: bytes) -> str:
    lines = output.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "without a reason"


async def _value(url: str, query: str) -> object:
    connection = await asyncpg.connect(url, timeout=TIMEOUT_S)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def _each(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url, timeout=TIMEOUT_S)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()

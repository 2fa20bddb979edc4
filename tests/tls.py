"""TLS for tests: a self-signed certificate, and what ends the encryption in front of a server that has none."""

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def certified(folder: Path, address: str = "127.0.0.1") -> Path:
    """Write a key and a certificate for an address, which signs itself; return the file that holds both."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ChatLLM test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / f"{address}.pem"
    file.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return file


@asynccontextmanager
async def terminated(certificate: Path, port: int, listens_at: int = 0) -> AsyncGenerator[int]:
    """Yield a port that speaks TLS and passes what it is told to the plain `port`, and back."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    carrying: set[asyncio.Task[None]] = set()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        tasks = [asyncio.create_task(carry(reader, inner_writer)), asyncio.create_task(carry(inner_reader, writer))]
        carrying.update(tasks)
        await asyncio.wait(tasks)
        carrying.difference_update(tasks)

    async with await asyncio.start_server(relay, "127.0.0.1", listens_at, ssl=context) as listener:
        yield listener.sockets[0].getsockname()[1]
        for task in carrying:
            task.cancel()
        await asyncio.gather(*carrying, return_exceptions=True)

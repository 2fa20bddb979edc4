"""Encryption between nodes. Each server has a certificate of its own; its fingerprint goes with its address.

So there is no authority to run and nothing to distribute: whoever got the address by a Serve handle knows whom
to expect, and sends the secret to nobody else. Certificates live as long as their process.
"""

import datetime
import ipaddress
import ssl
import tempfile
from dataclasses import dataclass, field
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "chatllm-replica")])
VALID_FOR = datetime.timedelta(days=3650)


class WrongCertificate(ConnectionError):
    """Another process than the expected one has answered."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A server's certificate."""

    context: ssl.SSLContext = field(repr=False)
    fingerprint: bytes

    @classmethod
    def new(cls) -> "Identity":
        """Make a key and a certificate that it has signed itself; takes about a millisecond."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(NAME)
            .issuer_name(NAME)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + VALID_FOR)
            .sign(key, hashes.SHA256())
        )
        pem = certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        _load(context, pem)
        return cls(context, sha256(certificate.public_bytes(serialization.Encoding.DER)).digest())


def client_context() -> ssl.SSLContext:
    """Return the connecting end's context. It trusts nobody by name: `check` compares the fingerprint."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def check(ssl_object: ssl.SSLObject, fingerprint: bytes) -> None:
    """Raise WrongCertificate unless the other end has the certificate with that fingerprint."""
    certificate = ssl_object.getpeercert(binary_form=True)
    if certificate is None or sha256(certificate).digest() != fingerprint:
        raise WrongCertificate("the other end is not the expected one")


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _load(context: ssl.SSLContext, pem: bytes) -> None:
    """Load a certificate and its key, which Python takes from a file alone."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(pem)
        file.flush()
        context.load_cert_chain(file.name)

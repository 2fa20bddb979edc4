"""HTTP clients of the tests, and of the processes that they start, read no list of certificates.

A client reads the certificates of all authorities when it is made, which takes 20 ms of processor time: half of what
a small test takes. From a folder OpenSSL reads the one that a connection needs.
"""

import os
import ssl


def read_when_needed() -> None:
    """Name the folder of certificates in the environment, in place of the one file with all of them."""
    os.environ.pop("SSL_CERT_FILE", None)
    os.environ["SSL_CERT_DIR"] = ssl.get_default_verify_paths().openssl_capath

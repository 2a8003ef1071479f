"""Key pairs and CA certificates given as PEM text, put into TLS contexts.

`ssl` takes them from files only. These files are in memory where the system has such (Linux), so
that no private key of the database ever gets onto a disk.
"""

from __future__ import annotations

import os
import ssl
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.entities.pem import parse_chain, parse_private_key, public_key_of
from gateway.settings import NodeSettings, SettingError, named
from gateway.snapshot import KeyPair

_OPEN_FILES = Path("/proc/self/fd")


def load_pair(context: ssl.SSLContext, pair: KeyPair) -> None:
    """Let ``context`` show a pair, beside one with a key of another type that it has already.

    Takes some 0.7 ms. Raises OSError (`ssl.SSLError` is one) if OpenSSL does not accept the pair.
    """
    with _file(f"{pair.cert_pem}\n{pair.key_pem}\n") as path:
        context.load_cert_chain(path, password=b"")  # without one, OpenSSL would ask the terminal


def load_authority(context: ssl.SSLContext, ca_pem: str) -> None:
    """Let ``context`` trust a CA. Raises OSError if OpenSSL cannot read it."""
    with _file(ca_pem) as path:
        context.load_verify_locations(path)


def read_pair(settings: NodeSettings, cert_field: str, key_field: str) -> KeyPair | None:
    """Return the pair in the files that two settings name, None when neither does.

    Raises SettingError naming the setting whose file is missing or of no use.
    """
    cert_path, key_path = getattr(settings, cert_field), getattr(settings, key_field)
    if not cert_path and not key_path:
        return None
    for path, field, other in (
        (cert_path, cert_field, key_field),
        (key_path, key_field, cert_field),
    ):
        if not path:
            raise SettingError(f"{named(field)} is required, as {named(other)} is given")
    pair = KeyPair(read_file(cert_field, cert_path), read_file(key_field, key_path))
    _check(pair, cert_field, cert_path, key_field, key_path)
    return pair


def read_file(field: str, path: str) -> str:
    """Return the text in the file that a setting names. Raises SettingError."""
    try:
        return Path(path).expanduser().read_text("latin-1")  # PEM is ASCII, remarks in it need not
    except OSError as error:
        raise SettingError(f"{named(field)}: {path} cannot be read: {error.strerror}") from None


def _check(pair: KeyPair, cert_field: str, cert_path: str, key_field: str, key_path: str) -> None:
    try:
        public_key = public_key_of(parse_chain(pair.cert_pem)[0])
    except ValueError:
        raise SettingError(
            f"{named(cert_field)}: {cert_path} is not a certificate in PEM form"
        ) from None
    try:
        key = parse_private_key(pair.key_pem)
    except ValueError:
        raise SettingError(
            f"{named(key_field)}: {key_path} is not an unencrypted private key in PEM form"
        ) from None
    if key.public_key() != public_key:
        raise SettingError(f"{named(key_field)}: the key in {key_path} is not that of {cert_path}")
    try:
        load_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), pair)
    except OSError as error:
        raise SettingError(f"{named(cert_field)}: {cert_path} cannot be used: {error}") from None


@contextmanager
def _file(text: str) -> Iterator[str]:
    """Give the path of a file with this text, which only this process can read and soon is gone."""
    if sys.platform == "linux" and _OPEN_FILES.is_dir():
        with os.fdopen(os.memfd_create("pem"), "wb") as memory:
            memory.write(text.encode())
            memory.flush()
            yield f"{_OPEN_FILES}/{memory.fileno()}"
    else:
        with tempfile.NamedTemporaryFile() as file:  # of mode 0600
            file.write(text.encode())
            file.flush()
            yield file.name

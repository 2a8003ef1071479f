"""Makes tokens of every algorithm, good and bad."""

from __future__ import annotations

import base64
import hmac
import json
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

SECRET = "geheim"
_HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
_CURVES = {"256": ec.SECP256R1(), "384": ec.SECP384R1(), "512": ec.SECP521R1()}


@cache
def private_key(algorithm: str) -> Any:
    match algorithm[:2]:
        case "RS" | "PS":
            return _rsa_key()
        case "ES":
            return ec.generate_private_key(_CURVES[algorithm[2:]])
    return ed25519.Ed25519PrivateKey.generate()


@cache
def _rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@cache
def ed448_key() -> ed448.Ed448PrivateKey:
    return ed448.Ed448PrivateKey.generate()


def pem(key: Any) -> str:
    """Return the public half of a key."""
    public = getattr(key, "public_key", lambda: key)()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def as_part(content: Any) -> str:
    return base64url(json.dumps(content).encode())


def token(
    claims: Any, algorithm: str = "HS256", key: Any = None, header: dict[str, Any] | None = None
) -> str:
    """Return a signed token; ``header`` replaces what a good one says."""
    head = {"alg": algorithm, "typ": "JWT"} if header is None else header
    content = f"{as_part(head)}.{as_part(claims)}"
    return f"{content}.{base64url(signature(content.encode(), algorithm, key))}"


def signature(content: bytes, algorithm: str, key: Any = None) -> bytes:
    kind, bits = algorithm[:2], algorithm[2:]
    if kind == "HS":
        return hmac.digest((key or SECRET).encode(), content, f"sha{bits}")
    key = key or private_key(algorithm)
    if kind == "RS":
        return key.sign(content, padding.PKCS1v15(), _HASHES[bits])
    if kind == "PS":
        salted = padding.PSS(padding.MGF1(_HASHES[bits]), _HASHES[bits].digest_size)
        return key.sign(content, salted, _HASHES[bits])
    if kind == "ES":
        size = (key.curve.key_size + 7) // 8
        numbers = decode_dss_signature(key.sign(content, ec.ECDSA(_HASHES[bits])))
        return b"".join(number.to_bytes(size) for number in numbers)
    return key.sign(content)

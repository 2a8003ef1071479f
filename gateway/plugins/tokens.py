"""JSON Web Tokens: taken apart, and their signatures verified (RFC 7519, 7515, 7518, 8037).

What a bad token is told is the plugin's contract (plugins.md section 5.3) and needs it taken apart
here; what then remains of a library for tokens is one call for each algorithm, all in
`cryptography`. The algorithm is that of the key that is found, never that which the token asks for.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple, NoReturn, TypeGuard

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm

from gateway.entities.credentials import ALGORITHMS
from gateway.entities.pem import parse_public_key

_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")
_HASHES: dict[str, HashAlgorithm] = {"256": SHA256(), "384": SHA384(), "512": SHA512()}
_CURVES: dict[str, type[ec.EllipticCurve]] = {
    "ES256": ec.SECP256R1,
    "ES384": ec.SECP384R1,
    "ES512": ec.SECP521R1,
}


class BadTokenError(Exception):
    """It cannot be taken apart; the message says what is wrong, in the plugin's words."""


class Token(NamedTuple):
    """A token whose signature nobody has looked at yet; ``signed`` is what it is of."""

    header: dict[str, Any]
    claims: dict[str, Any]
    signed: bytes
    signature: bytes

    @property
    def algorithm(self) -> str:
        """The algorithm that it says it is signed with."""
        return str(self.header["alg"])


def read_token(text: str) -> Token:
    """Take a token apart. Raises BadTokenError."""
    parts = text.split(".", 2)
    if len(parts) < 3:
        raise BadTokenError("invalid JSON")
    header, claims = _json(parts[0]), _json(parts[1])
    if not isinstance(header, dict) or header.get("alg") not in ALGORITHMS:
        raise BadTokenError("invalid alg")
    if not isinstance(claims, dict):
        raise BadTokenError("invalid claims")
    signature = from_base64url(parts[2])
    if signature is None:
        raise BadTokenError("invalid signature")
    return Token(header, claims, f"{parts[0]}.{parts[1]}".encode(), signature)


def _json(part: str) -> Any:
    decoded = from_base64url(part)
    if decoded is None:
        raise BadTokenError("invalid JSON")
    try:
        return json.loads(decoded, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise BadTokenError("invalid JSON") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def from_base64url(text: str) -> bytes | None:
    """Decode base64url, with or without its padding; None if it is none."""
    text = text.rstrip("=")
    if _BASE64URL.fullmatch(text) is None:
        return None
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        return None


class UnusableKeyError(Exception):
    """The key is none, or not one for its algorithm."""


def is_signed(token: Token, algorithm: str, key: str | bytes) -> bool:
    """Tell whether the signature is right: of this algorithm, with this key.

    ``key`` is a secret as bytes, or a public key in PEM. Raises UnusableKeyError.
    """
    if isinstance(key, bytes):
        expected = hmac.digest(key, token.signed, f"sha{algorithm[2:]}")
        return hmac.compare_digest(expected, token.signature)
    try:
        _verifier(algorithm, key)(token.signature, token.signed)
    except InvalidSignature:
        return False
    return True


_Verifier = Callable[[bytes, bytes], None]
"""Takes a signature and what it is of. Raises InvalidSignature."""


@lru_cache(maxsize=4096)  # as many keys as there are parties who sign: to read one takes 30 µs
def _verifier(algorithm: str, pem: str) -> _Verifier:
    try:
        key = parse_public_key(pem)
    except ValueError as error:
        raise UnusableKeyError(str(error)) from None
    return _verifier_of(algorithm, key)


def _verifier_of(algorithm: str, key: PublicKeyTypes) -> _Verifier:
    kind, bits = algorithm[:2], algorithm[2:]
    if kind == "RS" and isinstance(key, rsa.RSAPublicKey):
        return _rsa(key, padding.PKCS1v15(), _HASHES[bits])
    if kind == "PS" and isinstance(key, rsa.RSAPublicKey):
        hashed = _HASHES[bits]
        return _rsa(key, padding.PSS(padding.MGF1(hashed), hashed.digest_size), hashed)
    if kind == "ES" and _is_on_curve(key, _CURVES[algorithm]):
        return _ecdsa(key, _HASHES[bits])
    if algorithm == "EdDSA" and isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
        return key.verify
    raise UnusableKeyError(f"this is no key for {algorithm}")


def _is_on_curve(
    key: PublicKeyTypes, curve: type[ec.EllipticCurve]
) -> TypeGuard[ec.EllipticCurvePublicKey]:
    return isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, curve)


def _rsa(key: rsa.RSAPublicKey, pad: padding.AsymmetricPadding, hashed: HashAlgorithm) -> _Verifier:
    return lambda signature, signed: key.verify(signature, signed, pad, hashed)


def _ecdsa(key: ec.EllipticCurvePublicKey, hashed: HashAlgorithm) -> _Verifier:
    """Verify two numbers of fixed length side by side (RFC 7518 section 3.4)."""
    size = (key.key_size + 7) // 8
    method = ec.ECDSA(hashed)

    def verify(signature: bytes, signed: bytes) -> None:
        if len(signature) != 2 * size:
            raise InvalidSignature
        r, s = (int.from_bytes(half) for half in (signature[:size], signature[size:]))
        key.verify(encode_dss_signature(r, s), signed, method)

    return verify

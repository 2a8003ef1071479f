"""jwt: where a token may be, which are good, and what bad ones are told."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from gateway.entities.credentials import ALGORITHMS
from gateway.entities.errors import error_tree
from gateway.plugins.jwt import Jwt
from gateway.testing import Serving

from .token_maker import SECRET, as_part, base64url, pem, private_key, token


def serving(**config: Any) -> Serving:
    gateway = Serving(Jwt, **config)
    gateway.consumer("bob", jwt_secrets={"key": "k", "secret": SECRET})
    return gateway


GOOD = token({"iss": "k"})


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def told(answer: httpx.Response) -> Any:
    assert answer.status_code == 401
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    if answer.json() == {"message": "Unauthorized"}:
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    else:
        assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    return answer.json()


# -- where it may be


PLACES = {"cookie_names": ["c", "d"], "header_names": ["authorization", "x-token"]}


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        (f"/?jwt={GOOD}", {}),
        (f"/?a=1&j%77t={GOOD}&jwt=", {}),
        ("/", bearer(GOOD)),
        ("/", {"authorization": f"bearer {GOOD}"}),
        ("/", {"X-Token": f"Bearer {GOOD}"}),
        ("/", {"Cookie": f"a=b; c={GOOD}; C=x"}),
        ("/", {"Cookie": f'c=;d={GOOD} ;e="'}),
        (f"/?jwt={GOOD}", {"Cookie": f"c={GOOD}"} | bearer(GOOD)),
        (f"/?jwt={GOOD}&jwt={GOOD}", {}),
    ],
)
async def test_places(path: str, headers: dict[str, str]):
    async with serving(**PLACES) as gateway:
        for _ in range(3):
            assert (await gateway.ask("GET", path, headers=headers)).status_code == 200
    for got in gateway.received:
        assert got.headers["X-Credential-Identifier"] == "k"
        assert all(got.headers[name] == value for name, value in headers.items())


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/", {}),
        ("/?jwt=", {}),
        ("/?JWT=x", {}),
        ("/", {"Authorization": GOOD}),
        ("/", {"Authorization": f"Basic {GOOD}"}),
        ("/", {"Authorization": "Bearer"}),
        ("/", {"Cookie": f"c={GOOD}"}),
        ("/", {"Authorization": b"\xff \xfe"}),
    ],
)
async def test_places_without_one(path: str, headers: Any):
    async with serving() as gateway:
        answer = await gateway.ask("GET", path, headers=headers)
        assert told(answer) == {"message": "Unauthorized"}


async def test_one_is_enough():
    other = token({"iss": "k", "a": 1})
    async with serving(**PLACES) as gateway:
        for _ in range(2):  # also where the header lines alone are known to be good
            assert (await gateway.ask("GET", "/", headers=bearer(GOOD))).status_code == 200
        for path, headers in [
            (f"/?jwt={other}", bearer(GOOD)),
            (f"/?jwt={other}&jwt={GOOD}", {}),
            ("/", {"Cookie": f"c={other}"} | bearer(GOOD)),
            ("/", [("X-Token", f"Bearer {GOOD}"), ("X-Token", f"Bearer {other}")]),
        ]:
            answer = await gateway.ask("GET", path, headers=headers)
            assert told(answer) == {"message": "Multiple tokens provided"}


# -- which are good


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_algorithms(algorithm: str):
    gateway = Serving(Jwt)
    is_secret = algorithm.startswith("HS")
    key = {"secret": SECRET} if is_secret else {"rsa_public_key": pem(private_key(algorithm))}
    gateway.consumer("bob", jwt_secrets={"key": "k", "algorithm": algorithm} | key)
    good = token({"iss": "k"}, algorithm)
    async with gateway:
        for _ in range(3):
            assert (await gateway.ask("GET", "/", headers=bearer(good))).status_code == 200


async def test_the_public_key_is_no_secret():
    """A token that is signed with the text of the public key, as if that were a secret."""
    gateway, public = Serving(Jwt), pem(private_key("RS256"))
    gateway.consumer(
        "bob",
        jwt_secrets={
            "key": "k",
            "algorithm": "RS256",
            "rsa_public_key": public,
            "secret": public,
        },
    )
    async with gateway:
        forged = token({"iss": "k"}, "HS256", public)
        answer = await gateway.ask("GET", "/", headers=bearer(forged))
        assert told(answer) == {"message": "Invalid algorithm"}


UNSIGNED = f"{as_part({'alg': 'none'})}.{as_part({'iss': 'k'})}."


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", "Bad token; invalid JSON"),
        (UNSIGNED, "Bad token; invalid alg"),
        (f"{as_part({'alg': 'HS256'})}.{as_part([])}.", "Bad token; invalid claims"),
        (f"{as_part({'alg': 'HS256'})}.{as_part({})}.%", "Bad token; invalid signature"),
        (token({}), "No mandatory 'iss' in claims"),
        (token({"iss": None}), "No mandatory 'iss' in claims"),
        (token({"iss": ""}), "Invalid 'iss' in claims"),
        (token({"iss": 7}), "Invalid 'iss' in claims"),
        (token({"iss": ["k"]}), "Invalid 'iss' in claims"),
        (token({"iss": "nobody"}), "No credentials found for given 'iss'"),
        (token({"iss": "\x00"}), "No credentials found for given 'iss'"),
        (token({"iss": "\ud800"}), "No credentials found for given 'iss'"),
        (token({"iss": "k"}, "HS512"), "Invalid algorithm"),
        (token({"iss": "k"}, key="other"), "Invalid signature"),
        (GOOD.rpartition(".")[0] + ".", "Invalid signature"),
    ],
)
async def test_bad_tokens(text: str, message: str):
    async with serving() as gateway:
        for _ in range(2):
            answer = await gateway.ask("GET", "/", headers=bearer(text))
            assert told(answer) == {"message": message}


async def test_the_key_may_be_named_in_the_header():
    async with serving(key_claim_name="kid") as gateway:
        good = token({"iss": "x"}, header={"alg": "HS256", "kid": "k"})
        assert (await gateway.ask("GET", "/", headers=bearer(good))).status_code == 200
        answer = await gateway.ask("GET", "/", headers=bearer(GOOD))
        assert told(answer) == {"message": "No mandatory 'kid' in claims"}


@pytest.mark.parametrize(
    ("secret", "key", "message"),
    [
        (base64url(b"some secret"), "some secret", None),
        ("c29tZSBzZWNyZXQ=", "some secret", None),
        ("\u00e4", "x", "Invalid key/secret"),
    ],
)
async def test_secrets_in_base64(secret: str, key: str, message: str | None):
    gateway = Serving(Jwt, secret_is_base64=True)
    gateway.consumer("bob", jwt_secrets={"key": "k", "secret": secret})
    async with gateway:
        answer = await gateway.ask("GET", "/", headers=bearer(token({"iss": "k"}, key=key)))
        if message is None:
            assert answer.status_code == 200
        else:
            assert told(answer) == {"message": message}


async def test_a_key_that_is_none():
    gateway = Serving(Jwt)
    gateway.consumer(
        "bob", jwt_secrets={"key": "k", "algorithm": "ES256", "rsa_public_key": "none"}
    )
    async with gateway:
        answer = await gateway.ask("GET", "/", headers=bearer(token({"iss": "k"}, "ES256")))
        assert told(answer) == {"message": "Invalid key/secret"}


# -- times


NOW = int(time.time())


@pytest.mark.parametrize(
    ("config", "claims", "expected"),
    [
        ({}, {"exp": NOW - 10, "nbf": "x"}, None),
        ({"claims_to_verify": ["exp"]}, {"exp": NOW + 600}, None),
        ({"claims_to_verify": ["exp"]}, {"exp": NOW + 600.5, "nbf": NOW + 600}, None),
        ({"claims_to_verify": ["exp"]}, {"exp": NOW - 1}, {"exp": "token expired"}),
        ({"claims_to_verify": ["exp"]}, {}, {"exp": "must be a number"}),
        ({"claims_to_verify": ["exp"]}, {"exp": str(NOW + 600)}, {"exp": "must be a number"}),
        ({"claims_to_verify": ["exp"]}, {"exp": True}, {"exp": "must be a number"}),
        ({"claims_to_verify": ["exp"]}, {"exp": 10**400}, None),
        ({"claims_to_verify": ["nbf"]}, {"nbf": NOW - 10}, None),
        ({"claims_to_verify": ["nbf"]}, {"nbf": NOW + 600}, {"nbf": "token not valid yet"}),
        (
            {"claims_to_verify": ["exp", "nbf"]},
            {"exp": 1, "nbf": NOW + 600},
            {"exp": "token expired", "nbf": "token not valid yet"},
        ),
        ({"claims_to_verify": ["exp"], "maximum_expiration": 700}, {"exp": NOW + 600}, None),
        (
            {"claims_to_verify": ["exp"], "maximum_expiration": 300},
            {"exp": NOW + 6000},
            {"exp": "exceeds maximum allowed expiration"},
        ),
        (
            {"claims_to_verify": ["exp"], "maximum_expiration": 300},
            {"exp": 10**400},
            {"exp": "exceeds maximum allowed expiration"},
        ),
    ],
)
async def test_times(config: dict[str, Any], claims: dict[str, Any], expected: Any):
    async with serving(**config) as gateway:
        made = token({"iss": "k"} | claims)
        for _ in range(3):
            answer = await gateway.ask("GET", "/", headers=bearer(made))
            if expected is None:
                assert answer.status_code == 200
            else:
                assert told(answer) == expected


async def test_a_known_token_expires_on_its_connection(monkeypatch: pytest.MonkeyPatch):
    async with serving(claims_to_verify=["exp"]) as gateway:
        headers = bearer(token({"iss": "k", "exp": time.time() + 60}))
        for _ in range(3):
            assert (await gateway.ask("GET", "/", headers=headers)).status_code == 200
        later = time.time() + 61
        monkeypatch.setattr("time.time", lambda: later)
        assert told(await gateway.ask("GET", "/", headers=headers)) == {"exp": "token expired"}


# -- the rest of the config


async def test_preflight_requests_may_pass():
    async with serving(run_on_preflight=False) as gateway:
        assert (await gateway.ask("OPTIONS", "/")).status_code == 200
        assert (await gateway.ask("GET", "/")).status_code == 401


async def test_refusals_name_the_realm():
    async with serving(realm="r") as gateway:
        missing = await gateway.ask("GET", "/")
        bad = await gateway.ask("GET", "/", headers=bearer("x"))
    assert missing.headers["WWW-Authenticate"] == 'Bearer realm="r"'
    assert bad.headers["WWW-Authenticate"] == 'Bearer realm="r", error="invalid_token"'


async def test_nobody_in_particular_may_pass():
    gateway = serving(anonymous="nobody")
    gateway.consumer("nobody")
    async with gateway:
        assert (await gateway.ask("GET", "/", headers=bearer("x"))).status_code == 200
    assert gateway.received[0].headers["X-Anonymous-Consumer"] == "true"


def test_what_expires_soon_has_to_expire():
    with pytest.raises(ValidationError) as caught:
        Jwt.Config(maximum_expiration=60)
    tree = error_tree(caught.value.errors())
    assert json.dumps(tree) == '{"claims_to_verify": "expected to contain: exp"}'

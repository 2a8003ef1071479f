"""hmac-auth: which signatures are good, over which parts of a request, and when."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from email.utils import formatdate
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from gateway.plugins.hmac_auth import MOST_SIGNED, HmacAuth
from gateway.testing import Serving

UNVERIFIABLE, DIFFERENT = "HMAC signature cannot be verified", "HMAC signature does not match"
NO_DATE = (
    "HMAC signature cannot be verified, a valid date or x-date header is required for HMAC "
    "Authentication"
)


def serving(**config: Any) -> Serving:
    gateway = Serving(HmacAuth, **config)
    gateway.consumer("bob", hmacauth_credentials={"username": "bob", "secret": "geheim"})
    return gateway


def signed(text: str, names: str, algorithm: str = "sha256", username: str = "bob") -> str:
    signature = hmac.digest(b"geheim", text.encode("latin-1"), algorithm)
    encoded = base64.b64encode(signature).decode()
    return (
        f'hmac username="{username}", algorithm="hmac-{algorithm}", headers="{names}", '
        f'signature="{encoded}"'
    )


def problem(answer: httpx.Response) -> str:
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "hmac"
    return str(answer.json()["message"])


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha384", "sha512"])
@pytest.mark.parametrize("header", ["Authorization", "Proxy-Authorization"])
async def test_good_signatures(algorithm: str, header: str):
    date = formatdate(usegmt=True)
    async with serving() as gateway:
        value = signed(f"date: {date}", "date", algorithm)
        answer = await gateway.ask("GET", "/", headers={header: value, "Date": date})
        assert answer.status_code == 200
    (got,) = gateway.received
    assert got.headers["X-Credential-Identifier"] == "bob"
    assert got.headers[header] == value


async def test_all_that_can_be_signed():
    date = formatdate(usegmt=True)
    text = "\n".join(
        [
            f"Date: {date}",
            "host: a.test",
            "@request-target: post /a%2Fb?x=%20&y",
            "POST /a%2Fb?x=%20&y HTTP/1.1",
            "x-missing:",
            "x-two: first",
            "x-odd: \xe9",
        ]
    )
    names = "Date host @request-target request-line x-missing x-two x-odd"
    headers = [
        ("Host", "a.test"),
        ("X-Two", "first"),
        ("X-Two", "second"),
        ("X-Odd", b"\xe9"),
        ("Date", date),
        ("Authorization", signed(text, names)),
    ]
    async with serving() as gateway:
        assert (await gateway.ask("POST", "/a%2Fb?x=%20&y", headers=headers)).status_code == 200
        assert problem(await gateway.ask("PUT", "/a%2Fb?x=%20&y", headers=headers)) == DIFFERENT
        assert problem(await gateway.ask("POST", "/a/b?x=%20&y", headers=headers)) == DIFFERENT
        assert problem(await gateway.ask("POST", "/a%2Fb?x=1", headers=headers)) == DIFFERENT


@pytest.mark.parametrize(
    ("dates", "is_good"),
    [
        ({"Date": 0}, True),
        ({"Date": -290}, True),
        ({"Date": 290}, True),
        ({"Date": -310}, False),
        ({"Date": 310}, False),
        ({"X-Date": 0, "Date": -310}, True),
        ({"X-Date": -310, "Date": 0}, True),
        ({}, False),
    ],
)
async def test_the_clock(dates: dict[str, int], is_good: bool):
    now = time.time()
    headers = {name: formatdate(now + off, usegmt=True) for name, off in dates.items()}
    headers["Authorization"] = signed("x:", "x")
    async with serving() as gateway:
        answer = await gateway.ask("GET", "/", headers=headers)
        if is_good:
            assert answer.status_code == 200
        else:
            assert problem(answer) == NO_DATE


@pytest.mark.parametrize(
    "date",
    [
        *("", "x", "0", "Thu, 99 Foo 2020", "Thu, 01 Jan 99999999999999 00:00:00 GMT"),
        *("Mon, 01 Jan 0001 00:00:00 +2359", "1 1 1 1:1:1 +999999999999", b"\xff", "9" * 10_000),
        "Thu, 01 Jan 1970 00:00:00 -0000",
    ],
)
async def test_dates_that_are_none(date: Any):
    headers = {"X-Date": date, "Authorization": signed("x:", "x")}
    async with serving() as gateway:
        assert problem(await gateway.ask("GET", "/", headers=headers)) == NO_DATE


GOOD = signed("x:", "x")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", UNVERIFIABLE),
        ("hmac", UNVERIFIABLE),
        ("Bearer x", UNVERIFIABLE),
        (b"hmac \xff\xfe", UNVERIFIABLE),
        ("hmac " + 'a="' * 3000, UNVERIFIABLE),
        (GOOD + ", and more", UNVERIFIABLE),
        (signed("", ""), UNVERIFIABLE),
        (signed("x:", "x", username="eve"), UNVERIFIABLE),
        (signed("x:", "x").replace("sha256", "md5"), UNVERIFIABLE),
        (signed("x:", "x").replace('signature="', 'signature="%'), UNVERIFIABLE),
        (signed("", " ".join(["x"] * (MOST_SIGNED + 1))), UNVERIFIABLE),
        (signed("x: 1", "x"), DIFFERENT),
        (signed("x:", "x").replace("sha256", "sha1"), DIFFERENT),
        (GOOD, None),
    ],
)
async def test_bad_signatures(value: Any, expected: str | None):
    headers = {"Date": formatdate(usegmt=True), "Authorization": value}
    async with serving() as gateway:
        answer = await gateway.ask("GET", "/", headers=headers)
        assert answer.status_code == 200 if expected is None else problem(answer) == expected


async def test_without_a_header_there_is_no_more_to_say():
    async with serving(realm="r") as gateway:
        answer = await gateway.ask("GET", "/")
    assert (answer.status_code, answer.json()["message"]) == (401, "Unauthorized")
    assert answer.headers["WWW-Authenticate"] == 'hmac realm="r"'


async def test_some_headers_have_to_be_signed():
    date = formatdate(usegmt=True)
    async with serving(enforce_headers=["Date", "@request-target"]) as gateway:
        headers = {"Date": date, "Authorization": signed(f"date: {date}", "date")}
        assert problem(await gateway.ask("GET", "/", headers=headers)) == UNVERIFIABLE
        text = f"date: {date}\n@request-target: get /"
        headers["Authorization"] = signed(text, "date @request-target")
        assert (await gateway.ask("GET", "/", headers=headers)).status_code == 200


async def test_some_algorithms_may_not_be_used():
    async with serving(algorithms=["hmac-sha512"]) as gateway:
        headers = {"Date": formatdate(usegmt=True), "Authorization": GOOD}
        assert problem(await gateway.ask("GET", "/", headers=headers)) == UNVERIFIABLE


async def test_the_signature_is_hidden():
    async with serving(hide_credentials=True) as gateway:
        headers = {"Date": formatdate(usegmt=True), "Authorization": GOOD}
        await gateway.ask("GET", "/", headers=headers)
    assert "Authorization" not in gateway.received[0].headers


def digest_of(body: bytes) -> str:
    return "SHA-256=" + base64.b64encode(hashlib.sha256(body).digest()).decode()


@pytest.mark.parametrize(
    ("body", "digest", "is_good"),
    [
        (b"hello", digest_of(b"hello"), True),
        (b"hello", digest_of(b"hullo"), False),
        (b"hello", "SHA-256=%", False),
        (b"hello", None, False),
        (b"", None, True),
        (b"", digest_of(b""), True),
        (b"", digest_of(b"hello"), False),
        (b"x" * 300_000, digest_of(b"x" * 300_000), False),  # it is not held in memory
    ],
)
async def test_the_body_is_signed_by_its_digest(body: bytes, digest: str | None, is_good: bool):
    headers = {"Date": formatdate(usegmt=True), "Authorization": GOOD}
    if digest is not None:
        headers["Digest"] = digest
    async with serving(validate_request_body=True) as gateway:
        answer = await gateway.ask("POST", "/", content=body, headers=headers)
        if is_good:
            assert answer.status_code == 200
            assert gateway.received[0].body == body
        else:
            assert problem(answer) == DIFFERENT


@pytest.mark.parametrize("config", [{"clock_skew": 0}, {"algorithms": ["hmac-md5"]}])
def test_configs_that_are_refused(config: dict[str, Any]):
    with pytest.raises(ValidationError):
        HmacAuth.Config(**config)

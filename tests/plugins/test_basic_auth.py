"""basic-auth: which names and passwords are good, and what it costs to try bad ones."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from base64 import b64encode
from typing import Any

import httpx
import pytest
from argon2 import PasswordHasher

from gateway.entities.password import KONG_PREFIX, is_password
from gateway.plugins import password_checks
from gateway.plugins.basic_auth import BasicAuth
from gateway.plugins.password_checks import (
    MOST_OF_CLIENT,
    MOST_UNDER_WAY,
    PasswordChecks,
    TooManyError,
)
from gateway.testing import Serving

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def basic(username: str, password: str, scheme: str = "Basic") -> str:
    return f"{scheme} {b64encode(f'{username}:{password}'.encode()).decode()}"


def serving(**config: Any) -> Serving:
    gateway = Serving(BasicAuth, **config)
    password = CHEAP.hash("se:crét")
    gateway.consumer("bob", basicauth_credentials={"username": "bob", "password": password})
    return gateway


GOOD = basic("bob", "se:crét")


def check_refused(answer: httpx.Response) -> None:
    assert answer.status_code == 401
    assert answer.json()["message"] == "Unauthorized"
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="service"'


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": GOOD},
        {"authorization": GOOD.replace("Basic", "basic")},
        {"Authorization": GOOD.rstrip("=")},
        {"Proxy-Authorization": GOOD},
        {"Proxy-Authorization": GOOD, "Authorization": "Bearer x"},
        {"Proxy-Authorization": "Bearer x", "Authorization": GOOD},
    ],
)
async def test_a_good_password(headers: dict[str, str]):
    async with serving() as gateway:
        for _ in range(3):
            assert (await gateway.ask("GET", "/", headers=headers)).status_code == 200
    for got in gateway.received:
        assert got.headers["X-Credential-Identifier"] == "bob"
        assert all(got.headers[name] == value for name, value in headers.items())


@pytest.mark.parametrize(
    "value",
    [
        None,
        *("", "Basic", "Basic =", "Basic ====", "Basic %%%", "Bearer abc", GOOD + " x"),
        "Basic " + b64encode(b"bob").decode(),
        "Basic " + b64encode(b":").decode(),
        "Basic " + b64encode(b"\xff\xfe:\xff").decode(),
        "Basic " + b64encode(b"bob:\x00").decode(),
        b"Basic \xff\xff",
        "Basic A",
        "Basic " + "A" * 6000,
        *(basic("bob", "other"), basic("bob", ""), basic("Bob", "se:crét"), basic("", "se:crét")),
    ],
)
async def test_bad_ones(value: Any):
    async with serving() as gateway:
        headers = {} if value is None else {"Authorization": value}
        for _ in range(2):
            check_refused(await gateway.ask("GET", "/", headers=headers))
    assert gateway.received == []


async def test_two_headers_are_ambiguous():
    async with serving() as gateway:
        both = [("Authorization", GOOD), ("Authorization", basic("eve", "x"))]
        check_refused(await gateway.ask("GET", "/", headers=both))


async def test_passwords_that_kong_has_hashed():
    gateway = Serving(BasicAuth)
    bob = gateway.consumer("bob")
    kept = KONG_PREFIX + hashlib.sha1(f"pw{bob['id']}".encode()).hexdigest()
    gateway.entity(
        "basicauth_credentials",
        consumer={"id": str(bob["id"])},
        username="bob",
        password=kept,
    )
    async with gateway:
        ask = gateway.ask
        good = await ask("GET", "/", headers={"Authorization": basic("bob", "pw")})
        assert good.status_code == 200
        check_refused(await ask("GET", "/", headers={"Authorization": basic("bob", "pW")}))


async def test_what_was_read_is_hidden():
    async with serving(hide_credentials=True) as gateway:
        for _ in range(3):
            await gateway.ask("GET", "/", headers={"Authorization": GOOD})
        both = {"Proxy-Authorization": "Basic x", "Authorization": GOOD}
        await gateway.ask("GET", "/", headers=both)
    for got in gateway.received:
        assert "Authorization" not in got.headers
        assert "Proxy-Authorization" not in got.headers


async def test_a_changed_password_counts_from_the_next_apply_on():
    gateway = Serving(BasicAuth)
    bob = gateway.consumer("bob")
    fields = {"consumer": {"id": str(bob["id"])}, "username": "bob"}
    row = gateway.entity("basicauth_credentials", **fields, password=CHEAP.hash("old"))
    old, new = ({"Authorization": basic("bob", word)} for word in ("old", "new"))
    async with gateway:
        assert (await gateway.ask("GET", "/", headers=old)).status_code == 200
        assert (await gateway.ask("GET", "/", headers=new)).status_code == 401
        row["password"] = CHEAP.hash("new")
        await gateway.apply()
        assert (await gateway.ask("GET", "/", headers=old)).status_code == 401
        assert (await gateway.ask("GET", "/", headers=new)).status_code == 200


# -- what it costs


class Tries:
    """Counts how often passwords are really tried, and can hold that up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.number = 0
        self.may_end = threading.Event()
        self.may_end.set()
        monkeypatch.setattr(password_checks, "is_password", self)

    def __call__(self, *arguments: Any) -> bool:
        self.number += 1
        assert self.may_end.wait(30)
        return is_password(*arguments)


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> Tries:
    return Tries(monkeypatch)


async def test_the_same_password_is_tried_once(tries: Tries):
    async with serving() as gateway:
        for word, status in (("se:crét", 200), ("other", 401)):
            headers = {"Authorization": basic("bob", word)}
            first = await asyncio.gather(
                *(gateway.ask("GET", "/", headers=headers) for _ in range(20))
            )
            again = await gateway.ask("GET", "/", headers=headers | {"x": "1"})
            assert {answer.status_code for answer in (*first, again)} == {status}
    assert tries.number == 2


async def test_unknown_users_are_tried_as_well(tries: Tries):
    async with serving() as gateway:
        for number in range(3):
            headers = {"Authorization": basic(f"nobody-{number}", "pw")}
            check_refused(await gateway.ask("GET", "/", headers=headers))
    assert tries.number == 3


@pytest.mark.parametrize(("limit", "status"), [("MOST_UNDER_WAY", 503), ("MOST_OF_CLIENT", 429)])
async def test_who_comes_in_a_flood_is_told_to_come_again(
    limit: str, status: int, monkeypatch: pytest.MonkeyPatch
):
    async with serving(anonymous="bob") as gateway:
        assert (await gateway.ask("GET", "/", headers={"Authorization": GOOD})).status_code == 200
        monkeypatch.setattr(password_checks, limit, 0)
        guess = {"Authorization": basic("bob", "guess")}
        answer = await gateway.ask("GET", "/", headers=guess)
        assert answer.status_code == status  # and not taken for nobody in particular
        assert answer.headers["Retry-After"] == "1"
        good = {"Authorization": GOOD, "x": "other lines"}
        assert (await gateway.ask("GET", "/", headers=good)).status_code == 200


async def test_few_passwords_wait_and_fewer_of_one_client(tries: Tries):
    tries.may_end.clear()
    checks = PasswordChecks()
    attempts = [checks.attempt(str(n), None, "pw") for n in range(MOST_UNDER_WAY)]
    further = checks.attempt("further", None, "pw")
    waiting = []
    for number, attempt in enumerate(attempts):
        client = f"client {number // MOST_OF_CLIENT}"
        waiting.append(asyncio.create_task(checks.check(attempt, client)))
        await asyncio.sleep(0)
        if number + 1 == MOST_OF_CLIENT:
            with pytest.raises(TooManyError) as caught:
                await checks.check(further, client)
            assert not caught.value.of_all
    with pytest.raises(TooManyError) as caught:
        await checks.check(further, "another client")
    assert caught.value.of_all
    waiting[0].cancel()  # who goes away makes no room: the try goes on
    await asyncio.sleep(0)
    with pytest.raises(TooManyError):
        await checks.check(further, "another client")
    tries.may_end.set()
    assert not any(await asyncio.gather(*waiting[1:]))
    assert await checks.check(further, "client 1") is False
    assert tries.number == MOST_UNDER_WAY + 1


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(password_checks, "MOST_WRONG", 2)
    checks = PasswordChecks()
    attempts = [checks.attempt(str(n), None, "pw") for n in range(3)]
    for attempt in attempts:
        assert await checks.check(attempt, "") is False
    assert [checks.outcome(attempt) for attempt in attempts] == [None, False, False]

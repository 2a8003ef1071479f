"""Who a request is from: one plugin or several, nobody in particular; what the service hears."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import pytest

from gateway.plugins.authentication import Authentication, Outcome
from gateway.plugins.contract import Plugin
from gateway.plugins.key_auth import KeyAuth
from gateway.plugins.reply import Reply, refuse
from gateway.plugins.request import Request
from gateway.testing import Serving

IDENTITY = (
    *("X-Consumer-ID", "X-Consumer-Custom-ID", "X-Consumer-Username"),
    *("X-Credential-Identifier", "X-Anonymous-Consumer"),
)


class TokenAuth(Authentication):
    """A second way in, tried after key-auth: the name of a credential in a header, waited for."""

    name = "token-auth"
    priority = 1100

    def identify(self, request: Request) -> Outcome:
        return self._wait(request)

    async def _wait(self, request: Request) -> Reply | None:
        credential = request.directory.credential("hmacauth_credentials", request.header("t") or "")
        return refuse(401, "no token") if credential is None else self.admit(request, credential)


def told(gateway: Serving) -> dict[str, str]:
    """What the service last heard of who asks."""
    headers = gateway.received[-1].headers
    return {name: headers[name] for name in IDENTITY if name in headers}


async def test_the_service_hears_who_asks_and_nothing_that_the_client_made_up():
    gateway = Serving(KeyAuth)
    bob = gateway.entity("consumers", username="bob", custom_id="no. 7")
    owner = {"id": str(bob["id"])}
    key = gateway.entity("keyauth_credentials", consumer=owner, key="k")
    made_up = [(name.upper(), "root") for name in IDENTITY] * 2
    async with gateway:
        for _ in range(3):
            await gateway.ask("GET", "/", headers=[("apikey", "k"), *made_up])
            assert told(gateway) == {
                "X-Consumer-ID": str(bob["id"]),
                "X-Consumer-Custom-ID": "no. 7",
                "X-Consumer-Username": "bob",
                "X-Credential-Identifier": str(key["id"]),
            }


async def test_what_the_client_made_up_does_not_reach_the_service_as_nobodys_either():
    gateway = Serving(KeyAuth, anonymous="nobody")
    nobody = gateway.consumer("nobody")
    async with gateway:
        await gateway.ask("GET", "/", headers=dict.fromkeys(IDENTITY, "root"))
    assert told(gateway) == {
        "X-Consumer-ID": str(nobody["id"]),
        "X-Consumer-Username": "nobody",
        "X-Anonymous-Consumer": "true",
    }


# -- several plugins


def serving_two(first: dict[str, Any], second: dict[str, Any]) -> Serving:
    gateway = Serving(KeyAuth, **first)
    gateway.use(TokenAuth, **second)
    gateway.consumer("bob", keyauth_credentials={"key": "of-bob"})
    gateway.consumer("eve", hmacauth_credentials={"username": "of-eve"})
    gateway.consumer("nobody")
    return gateway


NOBODY = {"anonymous": "nobody"}
KEY, TOKEN = {"apikey": "of-bob"}, {"t": "of-eve"}


@pytest.mark.parametrize(
    ("first", "second", "headers", "expected"),
    [
        # all of them must be content, and the last one says who it is
        ({}, {}, {}, 401),
        ({}, {}, KEY, 401),
        ({}, {}, TOKEN, 401),
        ({}, {}, KEY | TOKEN, "eve"),
        # one of them must be, and the first one says who it is
        (NOBODY, NOBODY, {}, "nobody"),
        (NOBODY, NOBODY, KEY, "bob"),
        (NOBODY, NOBODY, TOKEN, "eve"),
        (NOBODY, NOBODY, KEY | TOKEN, "bob"),
        # what takes nobody stays mandatory
        (NOBODY, {}, KEY, 401),
        (NOBODY, {}, TOKEN, "eve"),
        ({}, NOBODY, TOKEN, 401),
        ({}, NOBODY, KEY, "bob"),
    ],
)
async def test_and_and_or(
    first: dict[str, Any], second: dict[str, Any], headers: dict[str, str], expected: int | str
):
    async with serving_two(first, second) as gateway:
        for _ in range(3):  # the last ones are recognised by their header lines
            answer = await gateway.ask("GET", "/", headers=headers)
            if isinstance(expected, int):
                assert answer.status_code == expected
            else:
                assert answer.status_code == 200
                assert told(gateway)["X-Consumer-Username"] == expected
                assert ("X-Anonymous-Consumer" in told(gateway)) == (expected == "nobody")


async def test_the_anonymous_consumer_may_be_named_by_id_and_must_exist():
    id_ = str(uuid4())
    async with Serving(KeyAuth, anonymous=id_) as gateway:
        assert (await gateway.ask("GET", "/")).status_code == 500
        gateway.entity("consumers", id=id_, username="nobody")
        await gateway.apply()
        assert (await gateway.ask("GET", "/")).status_code == 200


# -- plugins for a consumer


class Note(Plugin):
    """Tells the service that it was here."""

    priority = 1

    def access(self, request: Request) -> None:
        request.upstream.add_header("X-Seen-By", f"{self.name} of {self.use.consumer_id or 'all'}")


class Above(Note):
    name = "above"
    priority = 2000


class Below(Note):
    name = "below"


async def test_what_is_for_a_consumer_counts_only_below_the_plugin_that_finds_out():
    gateway = Serving(KeyAuth)
    bob = gateway.consumer("bob", keyauth_credentials={"key": "of-bob"})
    gateway.consumer("eve", keyauth_credentials={"key": "of-eve"})
    for kind in (Above, Below):
        gateway.use(kind)
        gateway.use(kind, {"consumer": bob})
    async with gateway:
        await gateway.ask("GET", "/", headers={"apikey": "of-bob"})
        await gateway.ask("GET", "/", headers={"apikey": "of-eve"})
    seen = [got.headers.get_list("X-Seen-By") for got in gateway.received]
    assert seen == [["above of all", f"below of {bob['id']}"], ["above of all", "below of all"]]


# -- the same header lines again


async def asked_twice(gateway: Serving, headers: dict[str, str]) -> httpx.Response:
    """Have the gateway recognise these header lines, on the one connection there is."""
    for _ in range(2):
        answer = await gateway.ask("GET", "/", headers=headers)
    return answer


async def test_a_revoked_credential_is_refused_on_the_same_connection():
    gateway = Serving(KeyAuth)
    bob = gateway.consumer("bob")
    key = gateway.entity("keyauth_credentials", consumer={"id": str(bob["id"])}, key="k")
    async with gateway:
        assert (await asked_twice(gateway, {"apikey": "k"})).status_code == 200
        gateway.remove("keyauth_credentials", key)
        await gateway.apply()
        assert (await asked_twice(gateway, {"apikey": "k"})).status_code == 401


async def test_a_changed_consumer_is_told_on_the_same_connection():
    gateway = Serving(KeyAuth)
    bob = gateway.consumer("bob", keyauth_credentials={"key": "k"})
    async with gateway:
        await asked_twice(gateway, {"apikey": "k"})
        bob["username"] = "robert"
        await gateway.apply()
        await asked_twice(gateway, {"apikey": "k"})
    names = [got.headers["X-Consumer-Username"] for got in gateway.received]
    assert names == ["bob", "bob", "robert", "robert"]


async def test_a_changed_config_counts_on_the_same_connection():
    gateway = Serving(KeyAuth, enabled=False)
    plugin = gateway.use(KeyAuth)
    gateway.consumer("bob", keyauth_credentials={"key": "k"})
    async with gateway:
        await asked_twice(gateway, {"apikey": "k"})
        gateway.remove("plugins", plugin)
        gateway.use(KeyAuth, hide_credentials=True)
        await gateway.apply()
        await asked_twice(gateway, {"apikey": "k"})
    assert ["apikey" in got.headers for got in gateway.received] == [True, True, False, False]


async def test_other_header_lines_are_another_matter():
    gateway = Serving(KeyAuth)
    gateway.consumer("bob", keyauth_credentials={"key": "k"})
    async with gateway:
        await asked_twice(gateway, {"apikey": "k"})
        assert (await gateway.ask("GET", "/", headers={"apikey": "K"})).status_code == 401
        assert (await gateway.ask("GET", "/")).status_code == 401


async def test_what_other_plugins_change_is_kept_when_header_lines_are_recognised():
    gateway = Serving(KeyAuth, hide_credentials=True)
    gateway.use(Above)
    gateway.consumer("bob", keyauth_credentials={"key": "k"})
    async with gateway:
        await gateway.ask("GET", "/", headers={"apikey": "k"})
        await asked_twice(gateway, {"apikey": "k"})
    for got in gateway.received:
        assert got.headers["X-Seen-By"] == "above of all"
        assert got.headers["X-Consumer-Username"] == "bob"
        assert "apikey" not in got.headers


async def test_lines_are_recognised_behind_a_trusted_proxy_too():
    gateway = Serving(KeyAuth, {"trusted_ips": "127.0.0.1"})
    gateway.consumer("bob", keyauth_credentials={"key": "k"})
    async with gateway:
        for _ in range(3):
            headers = {"apikey": "k", "X-Real-IP": "192.0.2.1"}
            assert (await gateway.ask("GET", "/", headers=headers)).status_code == 200
    assert len({got.headers["X-Credential-Identifier"] for got in gateway.received}) == 1

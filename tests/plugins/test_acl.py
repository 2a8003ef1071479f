"""acl: whose groups are let in, and what the service hears of them."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gateway.entities.errors import error_tree
from gateway.plugins.acl import AUTHENTICATED_GROUPS, Acl
from gateway.plugins.contract import Plugin
from gateway.plugins.key_auth import KeyAuth
from gateway.plugins.request import Request
from gateway.testing import Serving

MEMBERS = {"ada": ("admins", "users"), "bob": ("users",), "eve": (), "nobody": ()}


class Groups(Plugin):
    """Knows of groups from elsewhere: the header X-Told."""

    name = "groups"
    priority = 1000

    def access(self, request: Request) -> None:
        if told := request.header("X-Told"):
            request.context[AUTHENTICATED_GROUPS] = told.split(",")


def serving(*, anonymous: str | None = None, **config: Any) -> Serving:
    gateway = Serving(Acl, **config)
    gateway.use(KeyAuth, anonymous=anonymous)
    gateway.use(Groups)
    for name, groups in MEMBERS.items():
        consumer = gateway.consumer(name, keyauth_credentials={"key": name})
        for group in groups:
            gateway.entity("acls", consumer={"id": str(consumer["id"])}, group=group)
    return gateway


UNWANTED = (403, "You cannot consume this service")


@pytest.mark.parametrize(
    ("config", "who", "expected"),
    [
        ({"allow": ["admins", "others"]}, "ada", "admins, users"),
        ({"allow": ["admins"]}, "bob", UNWANTED),
        ({"allow": ["admins"]}, "eve", UNWANTED),
        ({"allow": ["users"], "hide_groups_header": True}, "bob", None),
        ({"deny": ["admins"]}, "ada", UNWANTED),
        ({"deny": ["admins"]}, "bob", "users"),
        ({"deny": ["admins"]}, "eve", None),
    ],
)
async def test_consumers(config: dict[str, Any], who: str, expected: Any):
    made_up = {"X-Consumer-Groups": "admins", "x-authenticated-groups": "admins"}
    async with serving(**config) as gateway:
        for _ in range(2):
            answer = await gateway.ask("GET", "/", headers={"apikey": who} | made_up)
            if isinstance(expected, tuple):
                assert (answer.status_code, answer.json()["message"]) == expected
            else:
                assert answer.status_code == 200
                assert gateway.received[-1].headers.get("X-Consumer-Groups") == expected
                assert "X-Authenticated-Groups" not in gateway.received[-1].headers


@pytest.mark.parametrize(
    ("anonymous", "config", "expected"),
    [
        ("nobody", {"allow": ["users"]}, 401),
        ("nobody", {"deny": ["users"]}, 200),
        ("bob", {"allow": ["users"]}, 200),
        ("bob", {"deny": ["users"]}, 403),
    ],
)
async def test_nobody_in_particular(anonymous: str, config: dict[str, Any], expected: int):
    async with serving(anonymous=anonymous, **config) as gateway:
        assert (await gateway.ask("GET", "/")).status_code == expected


async def test_without_authentication_nobody_is_let_in():
    async with Serving(Acl, deny=["users"]) as gateway:
        answer = await gateway.ask("GET", "/")
    assert (answer.status_code, answer.json()["message"]) == (401, "Unauthorized")


@pytest.mark.parametrize(
    ("who", "prefers", "expected"),
    [
        (None, False, "told"),  # they count more than those of nobody in particular
        ("bob", False, None),
        ("bob", True, "told"),
    ],
)
async def test_groups_from_elsewhere(who: str | None, prefers: bool, expected: str | None):
    config = {"allow": ["told", "users"], "always_use_authenticated_groups": prefers}
    async with serving(anonymous="nobody", **config) as gateway:
        headers = {"X-Told": "told"} | ({"apikey": who} if who else {})
        assert (await gateway.ask("GET", "/", headers=headers)).status_code == 200
        refused = await gateway.ask("GET", "/", headers=headers | {"X-Told": "other"})
        assert refused.status_code == (200 if expected is None else 403)
    heard = gateway.received[0].headers
    assert heard.get("X-Authenticated-Groups") == expected
    assert heard.get("X-Consumer-Groups") == ("users" if expected is None else None)


async def test_a_membership_counts_from_the_next_apply_on():
    gateway = Serving(Acl, allow=["users"])
    gateway.use(KeyAuth)
    bob = gateway.consumer("bob", keyauth_credentials={"key": "k"})
    async with gateway:
        assert (await gateway.ask("GET", "/", headers={"apikey": "k"})).status_code == 403
        acl = gateway.entity("acls", consumer={"id": str(bob["id"])}, group="users")
        await gateway.apply()
        assert (await gateway.ask("GET", "/", headers={"apikey": "k"})).status_code == 200
        gateway.remove("acls", acl)
        await gateway.apply()
        assert (await gateway.ask("GET", "/", headers={"apikey": "k"})).status_code == 403


async def test_a_group_cannot_break_the_header():
    gateway = Serving(Acl, allow=["a\r\nX-Evil: 1"])
    gateway.use(KeyAuth)
    bob = gateway.consumer("bob", keyauth_credentials={"key": "k"})
    gateway.entity("acls", consumer={"id": str(bob["id"])}, group="a\r\nX-Evil: 1")
    async with gateway:
        assert (await gateway.ask("GET", "/", headers={"apikey": "k"})).status_code == 200
    assert "X-Evil" not in gateway.received[0].headers
    assert gateway.received[0].headers["X-Consumer-Groups"] == "a%0D%0AX-Evil: 1"


@pytest.mark.parametrize("config", [{}, {"allow": []}, {"allow": ["a"], "deny": ["b"]}])
def test_exactly_one_list_is_set(config: dict[str, Any]):
    with pytest.raises(ValidationError) as caught:
        Acl.Config(**config)
    tree = error_tree(caught.value.errors())
    assert tree == {
        "@entity": ["exactly one of these fields must be non-empty: 'config.allow', 'config.deny'"]
    }

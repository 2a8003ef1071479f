"""Which protocols an upstream is asked to change to, and which 101 is believed."""

from __future__ import annotations

import pytest

from gateway.proxy.upgrade import chosen_protocol, offered_protocols

ANNOUNCED = {b"connection": b"Upgrade"}


@pytest.mark.parametrize(
    ("upgrade", "offered"),
    [
        (b"websocket", [b"websocket"]),
        (b"WebSocket", [b"WebSocket"]),
        (b"tcp", [b"tcp"]),
        (b"SPDY/3.1", [b"SPDY/3.1"]),
        (b"foo/2, websocket", [b"foo/2", b"websocket"]),
        (b", websocket ,", [b"websocket"]),
        (b"a," * 15 + b"b,c", [b"a"] * 15 + [b"b"]),  # the first sixteen
        # what would be between the client and this proxy
        (b"h2c", []),
        (b"H2C", []),
        (b"h2", []),
        (b"h2c-14", []),
        (b"h3", []),
        (b"HTTP/2.0", []),
        (b"HTTP/1.1", []),
        (b"TLS/1.2", []),
        (b"TLS/1.0, HTTP/1.1", []),
        (b"h2c, websocket", [b"websocket"]),
        # what is no protocol
        (b"", []),
        (b"web socket", []),
        (b"websocket;v=1", []),
        (b'"h2c"', []),
        (b"websocket/", []),
        (b"\xe9", []),
    ],
)
def test_only_what_can_be_tunnelled_is_offered(upgrade: bytes, offered: list[bytes]):
    assert list(offered_protocols({**ANNOUNCED, b"upgrade": upgrade}, b"1")) == offered


@pytest.mark.parametrize("connection", [b"upgrade", b"keep-alive, Upgrade", b"UPGRADE ,close"])
def test_an_upgrade_is_announced_in_connection(connection: bytes):
    special = {b"connection": connection, b"upgrade": b"websocket"}
    assert offered_protocols(special, b"1") == (b"websocket",)


@pytest.mark.parametrize(
    "special",
    [
        {},
        {b"upgrade": b"websocket"},
        {b"upgrade": b"websocket", b"connection": b"keep-alive"},
        {b"upgrade": b"websocket", b"connection": b"upgrades"},
        {b"connection": b"upgrade"},
    ],
)
def test_an_upgrade_that_is_not_announced_is_none(special: dict[bytes, bytes]):
    assert offered_protocols(special, b"1") == ()


def test_http_1_0_knows_no_upgrades():
    assert offered_protocols({**ANNOUNCED, b"upgrade": b"websocket"}, b"0") == ()


@pytest.mark.parametrize("answer", [b"websocket", b"WebSocket"])
def test_an_offered_protocol_may_be_chosen(answer: bytes):
    special = {**ANNOUNCED, b"upgrade": answer}
    assert chosen_protocol(special, (b"foo", b"Websocket")) == answer


@pytest.mark.parametrize(
    "special",
    [
        {},
        ANNOUNCED,
        {**ANNOUNCED, b"upgrade": b""},
        {**ANNOUNCED, b"upgrade": b"bar"},
        {**ANNOUNCED, b"upgrade": b"foo, websocket"},
        {b"upgrade": b"websocket"},
        {b"upgrade": b"websocket", b"connection": b"close"},
    ],
)
def test_nothing_else_may_be_chosen(special: dict[bytes, bytes]):
    assert chosen_protocol(special, (b"foo", b"websocket")) is None


def test_nothing_can_be_chosen_where_nothing_was_offered():
    assert chosen_protocol({**ANNOUNCED, b"upgrade": b"websocket"}, ()) is None

"""The accept queue of a socket about to be closed: all in it are found, and nobody joins it."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from gateway.accept_queue import accept_waiting, turn_away_newcomers
from gateway.listener import open_socket

CLIENTS = 24
DEADLINE_S = 10

Listen = Callable[..., socket.socket]
Connect = Callable[[socket.socket], socket.socket]


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def listen(closing: ExitStack) -> Listen:
    def listen(port: int = 0, *, shared: bool) -> socket.socket:
        opened = open_socket("proxy", "127.0.0.1", port, shared=shared, backlog=CLIENTS)
        closing.enter_context(opened).listen(CLIENTS)
        return opened

    return listen


@pytest.fixture
def connect(closing: ExitStack) -> Connect:
    """Begins to connect; it is the kernel that goes on."""

    def connect(to: socket.socket) -> socket.socket:
        client = closing.enter_context(socket.socket())
        client.setblocking(False)
        client.connect_ex(to.getsockname())
        return client

    return connect


def test_all_that_wait_are_accepted(closing: ExitStack, listen: Listen, connect: Connect):
    listening = listen(shared=False)
    clients = [connect(listening) for _ in range(3)]
    accepted = [closing.enter_context(found) for found in accept_waiting(listening)]
    assert [c.getsockname() for c in clients] == [a.getpeername() for a in accepted]
    assert not any(a.getblocking() for a in accepted)
    assert accept_waiting(listening) == []


def test_nobody_is_turned_away_where_nobody_else_listens(
    closing: ExitStack, listen: Listen, connect: Connect
):
    alone = listen(shared=False)
    assert not turn_away_newcomers(alone)
    connect(alone)
    (accepted,) = accept_waiting(alone)
    closing.enter_context(accepted)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux can do it")
async def test_newcomers_turned_away_meet_another_who_shares_the_port(
    closing: ExitStack, listen: Listen, connect: Connect
):
    """Those that came before stay, and what they send still comes."""
    leaving = listen(shared=True)
    early = connect(leaving)
    assert turn_away_newcomers(leaving)
    early.send(b"hello")

    staying = listen(leaving.getsockname()[1], shared=True)
    newcomers = [connect(leaving) for _ in range(CLIENTS)]
    (accepted,) = accept_waiting(leaving)
    assert closing.enter_context(accepted).recv(5) == b"hello"
    leaving.close()
    found = set()
    async with asyncio.timeout(DEADLINE_S):
        for _ in newcomers:
            accepted, peer = await asyncio.get_running_loop().sock_accept(staying)
            closing.enter_context(accepted)
            found.add(peer)
    assert found == {client.getsockname() for client in newcomers}

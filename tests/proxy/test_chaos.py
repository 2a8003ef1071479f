"""Clients and an upstream that misbehave at random: answers are right, or seen to be broken."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random

import pytest

from .conftest import StartGateway
from .gateway import Gateway, one_route
from .peers import Client, CutError, Request, Upstream, UpstreamPeer

CLIENTS = 8
ROUNDS = 15


def body_for(target: str) -> bytes:
    """What belongs to a target and to no other; of many sizes."""
    number = int(target.removeprefix("/"))
    return target.encode() * (1 + number * number % 3000)


class MoodyUpstream:
    """Answers as it should, most of the time."""

    def __init__(self, random: Random, upstream: Upstream) -> None:
        self._random = random
        self._upstream = upstream
        upstream.scripted = True

    async def serve(self) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(self._serve(await self._upstream.accept(deadline_s=None)))

    async def _serve(self, peer: UpstreamPeer) -> None:
        try:
            while await self._answer(peer, await peer.request()):
                pass
        except (CutError, ConnectionError):
            pass
        await peer.close()

    async def _answer(self, peer: UpstreamPeer, request: Request) -> bool:
        """Answer somehow; tell whether to go on."""
        body = body_for(request.target)
        length = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n" % len(body)
        mood = self._random.randrange(16)
        match mood:
            case 0:
                await peer.reset()
            case 1:
                await self._send(peer, length + b"\r\n" + body[: len(body) // 2])
            case 2:
                await self._send(peer, b"HTTP/1.1 200 OK\r\n\r\n" + body)
            case 3:
                await self._send(peer, length + b"Connection: close\r\n\r\n" + body)
            case 4:
                await self._send(peer, length + b"\r\n" + body + length + b"\r\nforged")
            case 5:
                await self._send(peer, b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n" + body)
            case 6 | 7 | 8:
                await self._send(peer, chunked(body, self._random))
                return True
            case _:
                await self._send(peer, length + b"\r\n" + body)
                return True
        return False

    async def _send(self, peer: UpstreamPeer, data: bytes) -> None:
        """Send in pieces of any size."""
        while data:
            size = self._random.choice([1, 50, 1000, 100_000])
            peer.send(data[:size])
            await peer.drained()
            data = data[size:]


def chunked(body: bytes, random: Random) -> bytes:
    message = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    while body:
        size = random.choice([7, 100, 5000])
        message += b"%x\r\n%b\r\n" % (len(body[:size]), body[:size])
        body = body[size:]
    return message + b"0\r\n\r\n"


class MoodyClient:
    """Asks, most of the time waits for the answer, and looks whether it is the right one."""

    def __init__(self, random: Random, gateway: Gateway, seen: Counter[object]) -> None:
        self._random = random
        self._gateway = gateway
        self._seen = seen

    async def run(self) -> None:
        client = await self._gateway.connect()
        for _ in range(ROUNDS):
            if not await self._round(client):
                await client.reset()
                client = await self._gateway.connect()
        await client.close()

    async def _round(self, client: Client) -> bool:
        """Ask for a few things at once; tell whether the connection may be used again."""
        targets = [
            f"/{self._random.randrange(1000)}" for _ in range(self._random.choice([1, 1, 3]))
        ]
        for target in targets:
            client.send(self._request(target))
        if not self._random.randrange(8):
            self._seen["left"] += 1
            return False
        for target in targets:
            try:
                response = await client.response()
            except (CutError, ConnectionError):
                self._seen["cut"] += 1
                return False
            self._seen[response.status] += 1
            if response.status == 200:
                assert response.body == body_for(target)
            if "Connection" in response:
                return False
        return True

    def _request(self, target: str) -> bytes:
        match self._random.randrange(4):
            case 0:
                return (
                    b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nxyz" % target.encode()
                )
            case 1:
                return (
                    b"PUT %b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                    b"3\r\nxyz\r\n0\r\n\r\n" % target.encode()
                )
            case _:
                return b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % target.encode()


@pytest.mark.both_loops
@pytest.mark.parametrize("seed", range(3))
async def test_every_whole_answer_belongs_to_its_request(
    start_gateway: StartGateway, upstream: Upstream, seed: int
):
    gateway = await start_gateway(one_route(upstream, to={"retries": 1}), buffer_limit_bytes=8192)
    seen: Counter[object] = Counter()
    serving = asyncio.create_task(MoodyUpstream(Random(seed), upstream).serve())
    clients = [MoodyClient(Random(seed * 100 + n), gateway, seen) for n in range(CLIENTS)]
    await asyncio.gather(*(client.run() for client in clients))
    serving.cancel()
    assert seen[200] > CLIENTS * ROUNDS / 3
    assert seen[502]
    assert seen["cut"]
    assert set(seen) == {200, 502, "cut", "left"}

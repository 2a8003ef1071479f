"""A name server on 127.0.0.1 that answers as it is told, by UDP and TCP."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset


class NameServer:
    """Knows the ``records`` of names: type → texts. A name without any does not exist.

    ``failures`` are names that it cannot say anything of, with a response code. While ``answering``
    is not set, it keeps silent. ``truncates``: by UDP it says no more than that there is more.
    """

    def __init__(self) -> None:
        self.records: dict[str, dict[str, list[str]]] = {}
        self.ttl_s = 1000
        self.failures: dict[str, dns.rcode.Rcode] = {}
        self.truncates = False
        self.answering = asyncio.Event()
        self.answering.set()
        self.asked: list[tuple[str, str]] = []
        self.asked_by_tcp = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        udp, tcp = _sockets()
        self.port: int = udp.getsockname()[1]
        self._udp, _ = await loop.create_datagram_endpoint(lambda: _ByUdp(self), sock=udp)
        self._tcp = await asyncio.start_server(self._serve, sock=tcp)

    async def stop(self) -> None:
        self._udp.close()
        self._tcp.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def settings(self) -> dict[str, Any]:
        """What lets a node ask this server, and nothing else."""
        return {"dns_servers": f"127.0.0.1:{self.port}", "dns_hosts_file": ""}

    def questions(self, record_type: str) -> int:
        """How often it was asked for records of a type."""
        return sum(asked == record_type for _, asked in self.asked)

    def answer_later(self, data: bytes, address: Any) -> None:
        async def answer() -> None:
            self._udp.sendto(await self._answer(data, by_tcp=False), address)

        task = asyncio.get_running_loop().create_task(answer())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked_by_tcp += 1
        length = int.from_bytes(await reader.readexactly(2), "big")
        answer = await self._answer(await reader.readexactly(length), by_tcp=True)
        writer.write(len(answer).to_bytes(2, "big") + answer)
        await writer.drain()
        writer.close()

    async def _answer(self, data: bytes, *, by_tcp: bool) -> bytes:
        question = dns.message.from_wire(data)
        [asked] = question.question
        name = asked.name.to_text(omit_final_dot=True)
        record_type = dns.rdatatype.to_text(asked.rdtype)
        self.asked.append((name, record_type))
        await self.answering.wait()
        answer = dns.message.make_response(question)
        answer.flags |= dns.flags.RA
        records = self.records.get(name)
        while records is not None and "CNAME" in records:
            answer.answer.append(self._rrset(name, "CNAME", records["CNAME"]))
            name = records["CNAME"][0].removesuffix(".")
            records = self.records.get(name)
        if name in self.failures:
            answer.set_rcode(self.failures[name])
        elif records is None:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        elif self.truncates and not by_tcp:
            answer.flags |= dns.flags.TC
        elif record_type in records:
            answer.answer.append(self._rrset(name, record_type, records[record_type]))
        return answer.to_wire(max_size=65_535)

    def _rrset(self, name: str, record_type: str, texts: list[str]) -> dns.rrset.RRset:
        return dns.rrset.from_text(f"{name}.", self.ttl_s, "IN", record_type, *texts)


class _ByUdp(asyncio.DatagramProtocol):
    def __init__(self, server: NameServer) -> None:
        self._server = server

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._server.answer_later(data, addr)


def _sockets() -> tuple[socket.socket, socket.socket]:
    """Sockets for UDP and TCP on the same port."""
    while True:
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("127.0.0.1", 0))
        try:
            return udp, socket.create_server(udp.getsockname())
        except OSError:
            udp.close()

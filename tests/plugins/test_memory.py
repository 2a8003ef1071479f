"""What a plugin remembers of header lines: for whom, how long, how much."""

from __future__ import annotations

from gateway.plugins.contract import Plugin
from gateway.plugins.reply import Reply, reply_json
from gateway.plugins.request import MOST_MEMORIES, Request
from gateway.testing import Serving


class Counting(Plugin):
    """Counts the requests with the same header lines."""

    name = "counting"
    priority = 1

    def access(self, request: Request) -> Reply:
        count = (request.recall(self) or 0) + 1
        request.remember(self, count)
        return reply_json(200, count)


async def test_the_same_lines_on_the_same_connection_are_remembered():
    async with Serving(Counting) as gateway:

        async def ask(path: str, x: str) -> int:
            return int((await gateway.ask("GET", path, headers={"x": x})).json())

        assert [await ask("/", "1"), await ask("/other?y=2", "1"), await ask("/", "1")] == [1, 2, 3]
        assert [await ask("/", "2"), await ask("/", "1")] == [1, 1]


async def test_nothing_is_remembered_of_another_directory():
    async with Serving(Counting) as gateway:
        assert (await gateway.ask("GET", "/")).json() == 1
        assert (await gateway.ask("GET", "/")).json() == 2
        gateway.consumer("bob")
        await gateway.apply()
        assert (await gateway.ask("GET", "/")).json() == 1


class Hoarding(Plugin):
    """Remembers too much."""

    name = "hoarding"
    priority = 1

    def access(self, request: Request) -> Reply:
        for number in range(3 * MOST_MEMORIES):
            request.remember((self, number), number)
        kept = [request.recall((self, number)) for number in range(3 * MOST_MEMORIES)]
        return reply_json(200, sum(number is not None for number in kept))


async def test_little_is_remembered():
    async with Serving(Hoarding) as gateway:
        assert 0 < (await gateway.ask("GET", "/")).json() <= MOST_MEMORIES

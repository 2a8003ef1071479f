"""What a plugin can do in each phase, and what becomes of a request whose plugin fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from pydantic import Field
from starlette.responses import Response as Answer
from starlette.responses import StreamingResponse

from gateway.access_log import Record
from gateway.entities.entity import Record as ConfigRecord
from gateway.plugins.contract import NodeServices, Plugin
from gateway.plugins.lines import LineError, removal
from gateway.plugins.outcome import Outcome
from gateway.plugins.reply import Reply, refuse, reply_json
from gateway.plugins.request import BodyTooLarge, Request
from gateway.plugins.response import Response
from gateway.testing import Serving


class Noting(Plugin):
    """Writes down which phases it has seen."""

    name = "noting"
    priority = 10

    def access(self, request: Request) -> None:
        self.note(request, "access")

    def header_filter(self, request: Request, response: Response) -> None:
        source = "service" if response.from_upstream else "gateway"
        response.set_header("X-Seen", f"{response.status} of the {source}")

    def log(self, request: Request, record: Record) -> None:
        LOGGED.append((record.status, record.from_upstream))

    def note(self, request: Request, phase: str) -> None:
        request.upstream.add_header("X-Phase", f"{self.name}: {phase}")


class Later(Noting):
    name = "later"
    priority = 5


class Closed(Plugin):
    name = "closed"
    priority = 7

    def access(self, request: Request) -> Reply:
        return refuse(403, "closed for <today>", {"X-Why": "sunday"})


LOGGED: list[tuple[int, bool]] = []


@pytest.fixture(autouse=True)
def logged() -> Iterator[None]:
    LOGGED.clear()
    yield
    LOGGED.clear()


async def test_all_phases_of_a_proxied_request():
    async with Serving(Noting) as gateway:
        answer = await gateway.ask("GET", "/")
    assert answer.status_code == 200
    assert answer.headers["X-Seen"] == "200 of the service"
    assert gateway.received[0].headers["X-Phase"] == "noting: access"
    assert LOGGED == [(200, True)]


class Choosing(Plugin):
    """Wants to know all about refusals and errors."""

    name = "choosing"
    priority = 3

    def ended(self, request: Request, outcome: Outcome) -> bool:
        assert outcome.request_bytes > 0 < outcome.response_bytes
        if request.path == "/bug":
            raise RuntimeError("a bug")
        return outcome.status >= 400

    def log(self, request: Request, record: Record) -> None:
        LOGGED.append((record.status, record.from_upstream))


async def test_a_plugin_chooses_of_which_requests_it_hears_all():
    async with Serving(Choosing) as gateway:
        for status, path in ((200, "/"), (404, "/"), (500, "/bug")):
            gateway.service.answer = Answer(status_code=status)
            assert (await gateway.ask("GET", path)).status_code == status
        assert gateway.proxy.plugin_failures.counts == {"choosing": 1}
    assert LOGGED == [(404, True)]


async def test_plugins_run_by_priority():
    gateway = Serving(Later)
    gateway.use(Noting)
    async with gateway:
        await gateway.ask("GET", "/")
    phases = gateway.received[0].headers.get_list("X-Phase")
    assert phases == ["noting: access", "later: access"]


async def test_who_answers_ends_the_way_there_but_not_the_way_back():
    gateway = Serving(Later)
    gateway.use(Closed)
    async with gateway:
        answer = await gateway.ask("GET", "/", headers={"Accept": "text/html"})
    assert answer.status_code == 403
    assert "closed for &lt;today&gt;" in answer.text
    assert answer.headers["X-Why"] == "sunday"
    assert answer.headers["X-Seen"] == "403 of the gateway"
    assert gateway.received == []
    assert LOGGED == [(403, False)]


async def test_what_is_for_all_sees_requests_without_a_route():
    gateway = Serving(Noting)
    gateway.route["paths"] = ["/elsewhere"]
    async with gateway:
        answer = await gateway.ask("GET", "/")
    assert answer.status_code == 404
    assert answer.headers["X-Seen"] == "404 of the gateway"
    assert LOGGED == [(404, False)]


# -- what can be changed


class Rewriting(Plugin):
    name = "rewriting"
    priority = 1

    def access(self, request: Request) -> None:
        upstream = request.upstream
        upstream.method, upstream.path, upstream.query = b"PUT", b"/other", b"?b=2"
        upstream.set_header("Host", "elsewhere.test")
        upstream.set_header("X-New", "é")
        upstream.remove_header("X-OLD")
        with pytest.raises(LineError):
            upstream.set_header("Content-Length", "5")
        with pytest.raises(LineError):
            upstream.set_header("X-Bad", "a\r\nb: c")
        with pytest.raises(LineError):
            upstream.add_header("a b", "c")


async def test_the_request_can_be_rewritten():
    async with Serving(Rewriting) as gateway:
        answer = await gateway.ask("GET", "/?a=1", headers={"X-Old": "1", "X-Kept": "2"})
    assert answer.status_code == 200
    (got,) = gateway.received
    assert (got.method, got.path, got.query) == ("PUT", "/other", "b=2")
    assert got.headers["Host"] == "elsewhere.test"
    assert got.headers["X-New"] == "é"
    assert "X-Old" not in got.headers
    assert got.headers["X-Kept"] == "2"


class Reversing(Plugin):
    """Sends bodies backwards, both ways."""

    name = "reversing"
    priority = 1

    async def access(self, request: Request) -> None:
        request.replace_body((await request.body())[::-1])

    def body_filter(self, request: Request, data: bytes, ended: bool) -> bytes:
        kept = request.context.setdefault("kept", bytearray())
        kept += data
        return bytes(reversed(kept)) if ended else b""


@pytest.mark.parametrize("size", [0, 3, 100_000])
async def test_bodies_can_be_replaced(size: int):
    sent = (b"abc" * size)[:size]
    async with Serving(Reversing) as gateway:
        gateway.service.answer = StreamingResponse(iter([b"one", b"two", b"three"]))
        answer = await gateway.ask("POST", "/", content=sent)
    assert gateway.received[0].body == sent[::-1]
    assert answer.content == b"onetwothree"[::-1]


async def test_answers_of_our_own_are_filtered_as_well():
    gateway = Serving(Reversing)
    gateway.use(Closed)
    async with gateway:
        answer = await gateway.ask("GET", "/", headers={"Accept": "text/plain"})
        head = await gateway.ask("HEAD", "/")
    assert answer.text[::-1].startswith("closed for <today>\n")
    assert head.content == b""


class Reading(Plugin):
    name = "reading"
    priority = 1

    async def access(self, request: Request) -> Reply:
        try:
            return reply_json(200, len(await request.body()))
        except BodyTooLarge:
            return refuse(413, "too large to be looked at")


@pytest.mark.parametrize(
    ("size", "expected"), [(0, "0"), (100, "100"), (300_000, "too large to be looked at")]
)
async def test_a_body_is_read_as_far_as_memory_goes(size: int, expected: str):
    async with Serving(Reading, {"buffer_limit_bytes": 65_536}) as gateway:
        answer = await gateway.ask("POST", "/", content=b"x" * size)
    assert expected in answer.text


class Blind(Plugin):
    name = "blind"
    priority = 1

    def access(self, request: Request) -> None:
        request.replace_body(b"what was not read")


async def test_a_body_must_be_read_before_it_is_replaced():
    async with Serving(Blind) as gateway:
        assert (await gateway.ask("POST", "/", content=b"x")).status_code == 500
        assert (await gateway.ask("GET", "/")).status_code == 200
    assert [got.body for got in gateway.received] == [b"what was not read"]


class Statused(Plugin):
    name = "statused"
    priority = 1

    def header_filter(self, request: Request, response: Response) -> None:
        response.status = 299
        response.remove_header("X-Theirs")
        response.add_header("X-Ours", "1")
        response.add_header("X-Ours", "2")


async def test_the_response_can_be_changed():
    async with Serving(Statused) as gateway:
        gateway.service.answer = Answer("hello", headers={"X-Theirs": "1"})
        answer = await gateway.ask("GET", "/")
    assert (answer.status_code, answer.text) == (299, "hello")
    assert "X-Theirs" not in answer.headers
    assert answer.headers.get_list("X-Ours") == ["1", "2"]


# -- what a plugin can see


class Announcing(Plugin):
    """Knows before there is a response what the client is to be told."""

    name = "announcing"
    priority = 20

    def access(self, request: Request) -> None:
        request.tell(b"\r\nX-Left: 3", removal(("x-left",)))
        request.tell(b"\r\nX-Word: hi", removal(("x-word",)))


class Erasing(Plugin):
    name = "erasing"
    priority = 1

    def header_filter(self, request: Request, response: Response) -> None:
        response.remove_header("X-Left")


async def test_what_is_told_stands_in_for_what_the_service_says():
    async with Serving(Announcing) as gateway:
        gateway.service.answer = Answer("fine", headers={"x-left": "7", "X-Other": "x"})
        first, second = [await gateway.ask("GET", "/") for _ in range(2)]
    assert first.headers.get_list("x-left") == second.headers.get_list("x-left") == ["3"]
    assert (first.headers["x-word"], first.headers["x-other"]) == ("hi", "x")


async def test_what_is_told_is_there_before_the_response_is_filtered():
    serving = Serving(Announcing)
    serving.use(Erasing)
    async with serving as gateway:
        answer = await gateway.ask("GET", "/")
    assert "x-left" not in answer.headers
    assert answer.headers["x-word"] == "hi"


async def test_whoever_answers_what_is_told_is_there():
    serving = Serving(Announcing)
    serving.use(Closed)
    async with serving as gateway:
        answer = await gateway.ask("GET", "/")
    assert (answer.status_code, answer.headers["x-left"]) == (403, "3")
    async with Serving(Announcing) as gateway:
        gateway.service.answer = Answer(headers={"x-left": "7"})
        answer = await gateway.ask("HEAD", "/")
    assert answer.headers.get_list("x-left") == ["3"]


class Emptying(Plugin):
    name = "emptying"
    priority = 1

    def header_filter(self, request: Request, response: Response) -> None:
        response.status = 429
        response.drop_body()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_the_body_of_a_response_can_be_left_out(method: str):
    has_answered = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"some"
        await has_answered.wait()

    gateway = Serving(Emptying)
    gateway.use(Noting)
    gateway.service.answer = lambda _: StreamingResponse(slow())
    async with gateway:
        answer = await gateway.ask(method, "/")
        assert (answer.status_code, answer.content) == (429, b"")
        assert answer.headers["X-Seen"] == "200 of the service"
        has_answered.set()
        gateway.service.answer = Answer("whole")
        answer = await gateway.ask(method, "/")
        assert (answer.status_code, answer.content) == (429, b"")
        assert LOGGED == [(429, True)] * 2


async def test_the_body_of_an_answer_can_be_left_out():
    gateway = Serving(Emptying)
    gateway.use(Closed)
    async with gateway:
        answer = await gateway.ask("GET", "/")
    assert (answer.status_code, answer.content) == (429, b"")
    assert answer.headers["Content-Length"] == "0"


class Telling(Plugin):
    name = "telling"
    priority = 1

    def access(self, request: Request) -> Reply:
        assert request.route is not None
        assert request.service is not None
        return reply_json(
            200,
            {
                "id": request.id,
                "method": request.method,
                "path": request.path,
                "query": request.query,
                "arguments": dict(request.arguments()),
                "scheme": request.scheme,
                "host": request.host,
                "client": request.client_address,
                "header": request.headers("X-A"),
                "missing": request.header("X-B"),
                "route": request.route.name,
                "service": request.service.name,
            },
        )


async def test_what_a_plugin_sees():
    async with Serving(Telling, {"trusted_ips": "127.0.0.1"}) as gateway:
        headers = [("Host", "a.test"), ("X-A", "1"), ("x-a", "2"), ("X-Real-IP", "192.0.2.1")]
        answer = await gateway.ask("GET", "/a%2Fb?x=1&y=&x=%C3%A9", headers=headers)
    seen = answer.json()
    assert seen.pop("id") == answer.headers["X-Gateway-Request-Id"]
    assert seen == {
        "method": "GET",
        "path": "/a%2Fb",
        "query": "x=1&y=&x=%C3%A9",
        "arguments": {"x": ["1", "é"], "y": [""]},
        "scheme": "http",
        "host": "a.test",
        "client": "192.0.2.1",
        "header": ["1", "2"],
        "missing": None,
        "route": "all",
        "service": "orders",
    }


# -- what goes wrong


class Failing(Plugin):
    name = "failing"
    priority = 1

    class Config(ConfigRecord):
        phase: str = Field(description="Where it fails.")

    config: Config

    def fail(self, phase: str) -> None:
        if self.config.phase == phase:
            raise RuntimeError("it was bound to happen")

    def access(self, request: Request) -> None:
        self.fail("access")

    def header_filter(self, request: Request, response: Response) -> None:
        self.fail("header_filter")

    def body_filter(self, request: Request, data: bytes, ended: bool) -> bytes:
        self.fail("body_filter")
        return data

    def log(self, request: Request, record: Record) -> None:
        self.fail("log")


@pytest.mark.parametrize("phase", ["access", "header_filter", "body_filter"])
async def test_a_plugin_that_raises_costs_its_request_only(phase: str):
    async with Serving(Failing, phase=phase) as gateway:
        for number in range(1, 3):
            answer = await gateway.ask("GET", "/")
            assert answer.status_code == 500
            assert answer.json() == {"message": "An unexpected error occurred"}
            assert gateway.proxy.plugin_failures.counts == {"failing": number}


async def test_a_plugin_that_fails_to_log_harms_nobody():
    async with Serving(Failing, phase="log") as gateway:
        assert (await gateway.ask("GET", "/")).status_code == 200
        assert (await gateway.ask("GET", "/")).status_code == 200
        assert gateway.proxy.plugin_failures.counts == {"failing": 2}


class Waiting(Plugin):
    name = "waiting"
    priority = 1

    async def access(self, request: Request) -> None:
        STARTED.set()
        try:
            await asyncio.Event().wait()
        finally:
            STOPPED.set()


STARTED, STOPPED = asyncio.Event(), asyncio.Event()


async def test_a_plugin_that_waits_too_long_is_given_up():
    async with Serving(Waiting, {"plugin_timeout_s": 0.05}) as gateway:
        assert (await gateway.ask("GET", "/")).status_code == 500


async def test_a_plugin_does_not_wait_for_a_client_that_is_gone():
    STARTED.clear()
    STOPPED.clear()
    async with Serving(Waiting) as gateway:
        asking = asyncio.create_task(gateway.ask("GET", "/"))
        await STARTED.wait()
        asking.cancel()
        async with asyncio.timeout(10):
            await STOPPED.wait()


# -- the life of a config


class Living(Plugin):
    name = "living"
    priority = 1

    @classmethod
    def share(cls, node: NodeServices) -> list[str]:
        return []

    def set_up(self) -> None:
        self.shared.append("set up")

    def clean_up(self) -> None:
        self.shared.append("clean up")

    def access(self, request: Request) -> Reply:
        return reply_json(200, self.shared)


async def test_an_object_is_set_up_and_cleaned_up_and_what_is_shared_outlives_it():
    async with Serving(Living) as gateway:
        first = await gateway.ask("GET", "/")
        await gateway.apply()
        second = await gateway.ask("GET", "/")
    assert first.json() == ["set up"]
    assert second.json() == ["set up", "set up", "clean up"]


class Unrunnable(Plugin):
    name = "unrunnable"
    priority = 1

    def __init__(self, *args: Any) -> None:
        raise ValueError("no code can run this")


async def test_a_config_that_cannot_run_is_named():
    with pytest.raises(ValueError, match="no code can run this: what it is for answers 503"):
        async with Serving(Unrunnable):
            raise AssertionError

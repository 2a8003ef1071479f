"""proxy-cache on a route: what is kept, for whom, how it comes back, and what never is."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from gateway.plugins.basic_auth import BasicAuth
from gateway.plugins.contract import Plugin
from gateway.plugins.jwt import Jwt
from gateway.plugins.key_auth import KeyAuth
from gateway.plugins.proxy_cache import ProxyCache
from gateway.plugins.proxy_cache.store import ResponseStore
from gateway.plugins.request import Request
from gateway.plugins.response import Response as Head
from gateway.plugins.transformers import RequestTransformer, ResponseTransformer
from gateway.testing import Received, Serving
from tests.plugins.configs import problems
from tests.plugins.token_maker import SECRET, token

PLAIN = {"Content-Type": "text/plain"}
LARGE = 3_000_000


class Caching:
    """A gateway with proxy-cache whose clock a test sets; the service counts its answers."""

    def __init__(self, gateway: Serving) -> None:
        self.gateway = gateway
        self.now = 1000.0
        self._answers = 0
        gateway.service.answer = self.numbered

    def numbered(self, got: Received) -> Response:
        self._answers += 1
        return Response(f"answer {self._answers}", headers=PLAIN)

    @property
    def store(self) -> ResponseStore:
        store = self.gateway.plugins.shared("proxy-cache")
        assert isinstance(store, ResponseStore)
        return store

    async def ask(self, path: str = "/", method: str = "GET", **further: Any) -> httpx.Response:
        self.store.clock = lambda: self.now
        return await self.gateway.ask(method, path, **further)

    async def outcome(self, path: str = "/", method: str = "GET", **further: Any) -> str | None:
        answer = await self.ask(path, method, **further)
        return answer.headers.get("X-Cache-Status")

    async def outcomes(self, *headers: Mapping[str, str]) -> list[str | None]:
        return [await self.outcome(headers=it) for it in headers]


def caching(settings: dict[str, Any] | None = None, /, **config: Any) -> Caching:
    return Caching(Serving(ProxyCache, settings, **({"strategy": "memory"} | config)))


def answering(cached: Caching, status: int = 200, body: bytes = b"x", **headers: str) -> None:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    cached.gateway.service.answer = Response(body, status, {**PLAIN, **names})


# -- the config


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, {"strategy": "required field missing"}),
        ({"strategy": "redis"}, {"strategy": "expected one of: memory"}),
        ({"response_code": [99]}, {"response_code": ["value should be between 100 and 900"]}),
        ({"response_code": []}, {"response_code": "length must be at least 1"}),
        (
            {"request_method": ["DELETE"]},
            {"request_method": ["expected one of: HEAD, GET, POST, PATCH, PUT"]},
        ),
        ({"cache_ttl": 0}, {"cache_ttl": "value must be greater than 0"}),
        ({"storage_ttl": -1}, {"storage_ttl": "value must be greater than 0"}),
        (
            {"content_type": ["json"]},
            {"content_type": ["'json' is no media type, as text/html or text/*"]},
        ),
        ({"response_headers": {"Age": True}}, {"response_headers": {"Age": "unknown field"}}),
        ({"memory": {"dictionary_name": ""}}, None),
    ],
)
def test_what_is_refused(config: dict[str, Any], expected: dict[str, Any] | None):
    found = problems(ProxyCache, {"strategy": "memory"} | config if config else config)
    assert found == expected if expected is not None else found


def test_the_defaults():
    assert ProxyCache.Config(strategy="memory").model_dump(mode="json") == {
        "strategy": "memory",
        "response_code": [200, 301, 404],
        "request_method": ["GET", "HEAD"],
        "content_type": ["text/plain", "application/json"],
        "cache_ttl": 300,
        "cache_control": False,
        "storage_ttl": None,
        "ignore_uri_case": False,
        "vary_query_params": None,
        "vary_headers": None,
        "response_headers": {"age": True, "X-Cache-Status": True, "X-Cache-Key": True},
        "memory": {"dictionary_name": "kong_db_cache"},
    }


# -- a hit


async def test_a_miss_then_hits():
    cached = caching()
    async with cached.gateway:
        miss = await cached.ask()
        cached.now += 7.9
        hit = await cached.ask()
    assert (miss.headers["X-Cache-Status"], hit.headers["X-Cache-Status"]) == ("Miss", "Hit")
    assert miss.text == hit.text == "answer 1"
    assert "Age" not in miss.headers
    assert hit.headers["Age"] == "7"
    assert len(miss.headers["X-Cache-Key"]) == 64
    assert miss.headers["X-Cache-Key"] == hit.headers["X-Cache-Key"]
    assert len(cached.gateway.received) == 1


async def test_a_hit_is_like_a_response_that_has_just_come():
    cached = caching()
    async with cached.gateway:
        answering(
            cached, 404, X_Own="a", X_RateLimit_Remaining_Minute="3", Age="9", X_Cache_Key="theirs"
        )
        miss, hit = [await cached.ask() for _ in range(2)]
    assert (hit.status_code, hit.content) == (404, b"x")
    assert hit.headers["X-Own"] == "a"
    assert hit.headers["Content-Length"] == "1"
    for name in ("X-Gateway-Upstream-Latency", "X-Gateway-Proxy-Latency", "Via", "Date", "Server"):
        assert name in hit.headers
    assert hit.headers["X-Gateway-Request-Id"] != miss.headers["X-Gateway-Request-Id"]
    assert miss.headers["X-RateLimit-Remaining-Minute"] == "3"
    assert "X-RateLimit-Remaining-Minute" not in hit.headers
    assert hit.headers.get_list("Age") == ["0"]
    assert len(hit.headers.get_list("X-Cache-Key")) == 1


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, {"age", "x-cache-status", "x-cache-key"}),
        ({"age": False}, {"x-cache-status", "x-cache-key"}),
        ({"X-Cache-Status": False}, {"age", "x-cache-key"}),
        ({"X-Cache-Key": False}, {"age", "x-cache-status"}),
        ({"age": False, "X-Cache-Status": False, "X-Cache-Key": False}, set()),
    ],
)
async def test_which_headers_tell_of_it(told: dict[str, bool], expected: set[str]):
    cached = caching(response_headers=told)
    async with cached.gateway:
        await cached.ask()
        hit = await cached.ask()
    assert hit.text == "answer 1"
    assert {"age", "x-cache-status", "x-cache-key"} & set(hit.headers) == expected


async def test_head_and_get_are_apart():
    cached = caching()
    async with cached.gateway:
        await cached.ask()
        assert await cached.outcome(method="HEAD") == "Miss"
        hit = await cached.ask(method="HEAD")
    assert hit.headers["X-Cache-Status"] == "Hit"
    assert (hit.headers["Content-Length"], hit.content) == ("8", b"")


@pytest.mark.parametrize("status", [204, 301, 500])
async def test_statuses_that_are_asked_for(status: int):
    cached = caching(response_code=[status])
    async with cached.gateway:
        answering(cached, status, b"" if status == 204 else b"x", Location="/there")
        miss, hit = [await cached.ask() for _ in range(2)]
    assert hit.headers["X-Cache-Status"] == "Hit"
    assert (hit.status_code, hit.content) == (status, miss.content)
    assert hit.headers["Location"] == "/there"


async def test_a_streamed_response_is_kept_when_it_has_come():
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(50):
            yield b"x" * 1000

    cached = caching()
    async with cached.gateway:
        cached.gateway.service.answer = lambda _: StreamingResponse(pieces(), headers=PLAIN)
        miss, hit = [await cached.ask() for _ in range(2)]
    assert miss.headers["Transfer-Encoding"] == "chunked"
    assert hit.headers["Content-Length"] == "50000"
    assert miss.content == hit.content == b"x" * 50_000


async def test_those_who_ask_at_once_all_go_to_the_service():
    cached = caching()
    async with cached.gateway:
        outcomes = await asyncio.gather(*(cached.outcome() for _ in range(5)))
        assert set(outcomes) <= {"Miss", "Hit"}
        assert await cached.outcome() == "Hit"


# -- what is not kept


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (500, {}),
        (200, {"Content-Type": "text/html"}),
        (200, {"Content-Type": "text/plain; charset=utf-8"}),
        (200, {"Content-Type": "nonsense"}),
        (200, {"Set-Cookie": "a=b"}),
    ],
)
async def test_what_is_not_kept(status: int, headers: dict[str, str]):
    cached = caching()
    async with cached.gateway:
        cached.gateway.service.answer = Response(b"x", status, PLAIN | headers)
        answers = [await cached.ask() for _ in range(2)]
    assert [it.headers["X-Cache-Status"] for it in answers] == ["Bypass", "Bypass"]
    assert len(cached.gateway.received) == 2


@pytest.mark.parametrize("status", [206, 304, 412, 416])
async def test_answers_to_conditions_are_not_kept_even_if_asked_for(status: int):
    cached = caching(response_code=[200, status])
    async with cached.gateway:
        answering(cached, status, b"" if status == 304 else b"x")
        assert [await cached.outcome() for _ in range(2)] == ["Bypass", "Bypass"]


async def test_a_response_that_breaks_off_is_not_kept():
    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * 10
        raise ConnectionResetError

    cached = caching()
    async with cached.gateway:
        cached.gateway.service.answer = lambda _: StreamingResponse(
            broken(), headers=PLAIN | {"Content-Length": "100"}
        )
        with pytest.raises(httpx.RemoteProtocolError):
            await cached.ask()
        answering(cached)
        assert await cached.outcome() == "Miss"
        assert cached.store.reserve(cached.gateway.settings.cache_limit_bytes // 4)


async def test_what_the_client_does_not_wait_for_is_not_kept():
    gone = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            yield b"x" * 10
            await asyncio.Event().wait()
        finally:
            gone.set()

    cached = caching()
    async with cached.gateway:
        cached.gateway.service.answer = lambda _: StreamingResponse(endless(), headers=PLAIN)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await cached.ask()
        await asyncio.wait_for(gone.wait(), 10)
        answering(cached)
        assert await cached.outcome() == "Miss"


@pytest.mark.parametrize("length", [str(LARGE), None])
async def test_what_is_too_large_passes_as_it_comes(length: str | None):
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(LARGE // 1000):
            yield b"x" * 1000

    headers = PLAIN | ({"Content-Length": length} if length else {})
    cached = caching()
    async with cached.gateway:
        cached.gateway.service.answer = lambda _: StreamingResponse(pieces(), headers=headers)
        answers = [await cached.ask() for _ in range(2)]
    assert {it.headers["X-Cache-Status"] for it in answers} == {"Bypass" if length else "Miss"}
    assert [len(it.content) for it in answers] == [LARGE, LARGE]
    assert len(cached.store) == 0


async def test_nothing_is_kept_without_room():
    cached = caching({"cache_limit_bytes": 0})
    async with cached.gateway:
        assert [await cached.outcome() for _ in range(2)] == ["Bypass", "Bypass"]


async def test_other_methods_pass_by():
    cached = caching()
    async with cached.gateway:
        assert [await cached.outcome(method="DELETE") for _ in range(2)] == ["Bypass", "Bypass"]


@pytest.mark.parametrize(("long", "known"), [("", 1), ("a" * 600, 0)])
async def test_long_keys_are_not_remembered(long: str, known: int):
    cached = caching()
    cached.gateway.route["preserve_host"] = True
    async with cached.gateway:
        await cached.ask(headers={"Host": f"a.example{long}"})
        assert len(cached.store.known_keys) == known


async def test_a_flood_of_paths_stays_within_bounds():
    cached = caching({"cache_limit_bytes": 200_000})
    async with cached.gateway:
        for number in range(300):
            assert await cached.outcome(f"/{number}") == "Miss"
        assert cached.store.used_bytes <= 200_000
        assert await cached.outcome("/299") == "Hit"
        assert await cached.outcome("/0") == "Miss"


# -- what tells requests apart


async def test_arguments():
    cached = caching()
    async with cached.gateway:
        paths = ("/?a=1&b=2", "/?b=2&a=1", "/?a=1", "/?a=1&b=3")
        assert [await cached.outcome(path) for path in paths] == ["Miss", "Hit", "Miss", "Miss"]


async def test_very_many_arguments_pass_by():
    async with (cached := caching()).gateway:
        outcomes = [await cached.outcome("/?" + "&".join("a" * n)) for n in (1000, 1001)]
    assert outcomes == ["Miss", "Bypass"]


async def test_some_arguments():
    cached = caching(vary_query_params=["a"])
    async with cached.gateway:
        paths = ("/?a=1&b=2", "/?a=1", "/?a=2", "/")
        assert [await cached.outcome(path) for path in paths] == ["Miss", "Hit", "Miss", "Miss"]


async def test_headers():
    cached = caching(vary_headers=["Accept-Language"])
    async with cached.gateway:
        outcomes = await cached.outcomes(
            {"Accept-Language": "de"},
            {"Accept-Language": "de", "X-Other": "a"},
            {"Accept-Language": "fr"},
            {},
        )
    assert outcomes == ["Miss", "Hit", "Miss", "Miss"]


@pytest.mark.parametrize(("ignored", "second"), [(False, "Miss"), (True, "Hit")])
async def test_case(ignored: bool, second: str):
    cached = caching(ignore_uri_case=ignored)
    async with cached.gateway:
        assert [await cached.outcome(path) for path in ("/Ab", "/aB")] == ["Miss", second]


async def test_consumers_are_apart():
    cached = caching()
    cached.gateway.use(KeyAuth)
    for name in ("bob", "eve"):
        cached.gateway.consumer(name, keyauth_credentials={"key": name})
    async with cached.gateway:
        outcomes = await cached.outcomes(
            {"apikey": "bob"}, {"apikey": "eve"}, {"apikey": "bob"}, {"apikey": "nobody"}
        )
    assert outcomes == ["Miss", "Miss", "Hit", None]


async def test_those_whom_the_gateway_does_not_know_are_apart_by_their_authorization():
    cached = caching()
    async with cached.gateway:
        outcomes = await cached.outcomes(
            {}, {"Authorization": "Bearer a"}, {"Authorization": "Bearer b"}
        )
        assert outcomes == ["Miss", "Miss", "Miss"]
        assert await cached.outcome(headers={"Authorization": "Bearer a"}) == "Hit"


async def test_the_service_may_know_by_authorization_whom_a_consumer_asks_for():
    cached = caching()
    consumer = cached.gateway.consumer("app", keyauth_credentials={"key": "k"})
    cached.gateway.use(KeyAuth, anonymous=str(consumer["id"]))
    async with cached.gateway:
        for headers in ({}, {"apikey": "k"}):
            ada, bob = ({**headers, "Authorization": f"Bearer {name}"} for name in ("ada", "bob"))
            assert await cached.outcomes(ada, bob, ada) == ["Miss", "Miss", "Hit"]
            cached.store.purge_all()


async def test_an_issuer_may_give_tokens_to_many():
    cached = caching()
    cached.gateway.consumer("issuer", jwt_secrets={"key": "k", "secret": SECRET})
    cached.gateway.use(Jwt)
    async with cached.gateway:
        ada, bob = (
            {"Authorization": f"Bearer {token({'iss': 'k', 'sub': name})}"}
            for name in ("ada", "bob")
        )
        assert await cached.outcomes(ada, bob, ada) == ["Miss", "Miss", "Hit"]


async def test_tokens_in_cookies_may_speak_for_many_as_well():
    cached = caching()
    cached.gateway.consumer("issuer", jwt_secrets={"key": "k", "secret": SECRET})
    cached.gateway.use(Jwt, cookie_names=["token"])
    async with cached.gateway:
        ada, bob = (
            {"Cookie": f"token={token({'iss': 'k', 'sub': name})}"} for name in ("ada", "bob")
        )
        assert await cached.outcomes(ada, bob, ada) == ["Miss", "Miss", "Hit"]


async def test_who_is_known_by_proxy_authorization_may_ask_for_many():
    cached = caching()
    credentials = {"username": "app", "password": "secret"}
    cached.gateway.consumer("app", basicauth_credentials=credentials)
    cached.gateway.use(BasicAuth)
    shown = {"Proxy-Authorization": "Basic " + b64encode(b"app:secret").decode()}
    async with cached.gateway:
        ada, bob = ({**shown, "Authorization": f"Bearer {name}"} for name in ("ada", "bob"))
        assert await cached.outcomes(ada, bob, ada) == ["Miss", "Miss", "Hit"]


async def test_what_a_consumer_is_known_by_tells_nobody_apart():
    cached = caching()
    credentials = {"username": "bob", "password": "secret"}
    cached.gateway.consumer("bob", basicauth_credentials=credentials)
    cached.gateway.use(BasicAuth)
    async with cached.gateway:
        answers = [await cached.ask(auth=("bob", "secret")) for _ in range(2)]
        said = answers[0].request.headers["Authorization"]
        other = await cached.outcome(headers={"Authorization": said.replace("Basic", "basic")})
    assert [answer.headers["X-Cache-Status"] for answer in answers] == ["Miss", "Hit"]
    assert other == "Hit"


async def test_bodies_are_apart():
    cached = caching(request_method=["POST"])
    async with cached.gateway:
        outcomes = [
            await cached.outcome(method="POST", content=it) for it in (b"a", b"b", b"a", b"")
        ]
    assert outcomes == ["Miss", "Miss", "Hit", "Miss"]
    assert [it.body for it in cached.gateway.received] == [b"a", b"b", b""]


async def test_a_body_too_large_for_memory_passes_by():
    cached = caching({"buffer_limit_bytes": 65_536}, request_method=["POST"])
    async with cached.gateway:
        assert await cached.outcome(method="POST", content=b"x" * 300_000) == "Bypass"
    assert len(cached.gateway.received[0].body) == 300_000


@pytest.mark.parametrize(("preserve", "second"), [(False, "Hit"), (True, "Miss")])
async def test_hosts_are_apart_if_the_service_sees_them(preserve: bool, second: str):
    cached = caching()
    cached.gateway.route["preserve_host"] = preserve
    async with cached.gateway:
        outcomes = await cached.outcomes({"Host": "a.test"}, {"Host": "b.test"})
    assert outcomes == ["Miss", second]


async def test_the_host_that_a_service_is_told_of_may_tell_apart():
    async with (cached := caching(vary_headers=["X-Forwarded-Host"])).gateway:
        hosts = [{"Host": host} for host in ("a.example", "evil.example", "a.example")]
        assert await cached.outcomes(*hosts) == ["Miss", "Miss", "Hit"]


async def test_what_a_transformer_asks_for_is_told_apart():
    cached = caching()
    cached.gateway.use(RequestTransformer, replace={"uri": "/$(headers['x-tenant'])"})
    async with cached.gateway:
        outcomes = await cached.outcomes({"X-Tenant": "a"}, {"X-Tenant": "b"}, {"X-Tenant": "a"})
    assert outcomes == ["Miss", "Miss", "Hit"]


async def test_another_method_than_asked_for_passes_by():
    cached = caching()
    cached.gateway.use(RequestTransformer, http_method="POST")
    async with cached.gateway:
        assert [await cached.outcome() for _ in range(2)] == ["Bypass", "Bypass"]


class AsksLate(Plugin):
    """Asks the service with another method, once the cache was asked."""

    name = "asks-late"
    priority = 1

    def access(self, request: Request) -> None:
        request.upstream.method = {"GET": b"HEAD", "HEAD": b"GET"}[request.method]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_what_is_asked_for_with_another_method_later_is_not_kept(method: str):
    cached = caching()
    cached.gateway.use(AsksLate)
    async with cached.gateway:
        assert [await cached.outcome(method=method) for _ in range(2)] == ["Bypass", "Bypass"]


async def test_an_upgrade_passes_by():
    cached = caching()
    async with cached.gateway:
        await cached.ask()
        headers = {"Connection": "Upgrade", "Upgrade": "foo"}
        assert await cached.outcome(headers=headers) == "Bypass"


# -- time


async def test_what_is_no_longer_fresh_is_a_miss():
    cached = caching(cache_ttl=10)
    async with cached.gateway:
        await cached.ask()
        cached.now += 9.9
        assert await cached.outcome() == "Hit"
        cached.now += 0.2
        assert await cached.outcome() == "Miss"
        assert await cached.outcome() == "Hit"


async def test_what_is_kept_but_not_fresh_is_refreshed():
    cached = caching(cache_ttl=10, storage_ttl=100)
    async with cached.gateway:
        await cached.ask()
        cached.now += 50
        answer = await cached.ask()
        assert answer.headers["X-Cache-Status"] == "Refresh"
        assert "X-Cache-Key" in answer.headers
        assert answer.text == "answer 2"
        assert await cached.outcome() == "Hit"


# -- cache_control


@pytest.mark.parametrize(
    ("said", "after_s", "outcomes"),
    [
        ("max-age=60", 59, ["Miss", "Hit"]),
        ("max-age=60", 61, ["Miss", "Miss"]),
        ("max-age=60, s-maxage=5", 6, ["Miss", "Miss"]),
        ("max-age=5, s-maxage=60", 6, ["Miss", "Hit"]),
        ("public", 0, ["Bypass", "Bypass"]),
        ("", 0, ["Bypass", "Bypass"]),
        ("max-age=0", 0, ["Bypass", "Bypass"]),
        ("max-age=garbage", 0, ["Bypass", "Bypass"]),
        ("private, max-age=60", 0, ["Bypass", "Bypass"]),
        ("no-store, max-age=60", 0, ["Bypass", "Bypass"]),
        ("no-cache, max-age=60", 0, ["Bypass", "Bypass"]),
    ],
)
async def test_responses_have_a_say(said: str, after_s: float, outcomes: list[str]):
    cached = caching(cache_control=True)
    async with cached.gateway:
        answering(cached, Cache_Control=said)
        first = await cached.outcome()
        cached.now += after_s
        assert [first, await cached.outcome()] == outcomes


async def test_a_response_that_comes_with_an_age_is_fresh_for_less():
    cached = caching(cache_control=True)
    async with cached.gateway:
        answering(cached, Cache_Control="max-age=60", Age="50")
        assert await cached.outcome() == "Miss"
        cached.now += 9
        assert (await cached.ask()).headers.get_list("Age") == ["59"]
        cached.now += 2
        assert await cached.outcome() == "Miss"
        answering(cached, Cache_Control="max-age=60", Age="60")
        cached.now += 20
        assert await cached.outcome() == "Bypass"


@pytest.mark.parametrize(
    ("said", "after_s", "outcome"),
    [
        ("", 10, "Hit"),
        ("no-store", 10, "Bypass"),
        ("no-cache", 10, "Bypass"),
        ("max-age=20", 10, "Hit"),
        ("max-age=9", 10, "Refresh"),
        ("max-age=0", 10, "Refresh"),
        ("max-age=garbage", 10, "Refresh"),
        ("min-fresh=49", 10, "Hit"),
        ("min-fresh=51", 10, "Refresh"),
        ("", 70, "Refresh"),
        ("max-stale", 70, "Hit"),
        ("max-stale=20", 70, "Hit"),
        ("max-stale=5", 70, "Refresh"),
        ("max-stale=garbage", 70, "Refresh"),
        ("max-stale, max-age=65", 70, "Refresh"),
        ("only-if-cached", 10, "Hit"),
    ],
)
async def test_requests_have_a_say(said: str, after_s: float, outcome: str):
    cached = caching(cache_control=True, storage_ttl=1000)
    async with cached.gateway:
        answering(cached, Cache_Control="max-age=60")
        await cached.ask()
        cached.now += after_s
        assert await cached.outcome(headers={"Cache-Control": said}) == outcome


async def test_some_responses_are_never_stale():
    cached = caching(cache_control=True, storage_ttl=1000)
    async with cached.gateway:
        answering(cached, Cache_Control="max-age=60, must-revalidate")
        await cached.ask()
        cached.now += 70
        assert await cached.outcome(headers={"Cache-Control": "max-stale"}) == "Refresh"


async def test_who_wants_only_what_is_kept_gets_no_more():
    cached = caching(cache_control=True, storage_ttl=1000)
    only = {"Cache-Control": "only-if-cached"}
    async with cached.gateway:
        answering(cached, Cache_Control="max-age=60")
        answer = await cached.ask(headers=only)
        assert (answer.status_code, answer.content) == (504, b"")
        assert cached.gateway.received == []
        await cached.ask()
        assert (await cached.ask(headers=only)).status_code == 200
        cached.now += 70
        assert (await cached.ask(headers=only)).status_code == 504


async def test_without_cache_control_nobody_has_a_say():
    cached = caching()
    async with cached.gateway:
        answering(cached, Cache_Control="no-store, private", Expires="0")
        said = {"Cache-Control": "no-store, only-if-cached"}
        assert await cached.outcomes(said, said) == ["Miss", "Hit"]


@pytest.mark.parametrize(
    ("said", "first", "second"),
    [("max-age=60", "Bypass", "Bypass"), ("public, max-age=60", "Miss", "Hit")],
)
async def test_responses_to_requests_with_authorization(said: str, first: str, second: str):
    cached = caching(cache_control=True)
    async with cached.gateway:
        answering(cached, Cache_Control=said)
        outcomes = await cached.outcomes({"Authorization": "a"}, {"Authorization": "b"})
    assert outcomes == [first, second]


async def test_what_is_not_for_all_is_not_for_those_with_authorization():
    cached = caching(cache_control=True)
    async with cached.gateway:
        answering(cached, Cache_Control="max-age=60")
        assert await cached.outcomes({}, {"Authorization": "a"}, {}) == ["Miss", "Bypass", "Hit"]


# -- with other plugins, and changes


class Seeing(Plugin):
    """Counts phases, and adds to each response."""

    name = "seeing"
    priority = 50

    accesses = 0

    def access(self, request: Request) -> None:
        del request
        type(self).accesses += 1

    def header_filter(self, request: Request, response: Head) -> None:
        del request
        response.add_header("X-Seen", str(response.from_upstream))

    def body_filter(self, request: Request, data: bytes, ended: bool) -> bytes:
        del request
        return data + b"!" if ended else data


async def test_later_plugins_see_the_way_back_only():
    cached = caching()
    cached.gateway.use(Seeing)
    Seeing.accesses = 0
    async with cached.gateway:
        miss, hit = [await cached.ask() for _ in range(2)]
    assert Seeing.accesses == 1
    assert miss.text == hit.text == "answer 1!"
    assert hit.headers.get_list("X-Seen") == ["True"]
    assert hit.headers["X-Cache-Status"] == "Hit"


async def test_what_the_service_said_is_kept_and_changed_each_time_anew():
    cached = caching()
    cached.gateway.use(ResponseTransformer, append={"headers": ["X-Chain:again"]})
    async with cached.gateway:
        answering(cached, X_Chain="once")
        miss, *_, hit = [await cached.ask() for _ in range(3)]
    assert miss.headers.get_list("X-Chain") == hit.headers.get_list("X-Chain") == ["once", "again"]


async def test_what_is_kept_outlives_a_change_of_the_config():
    cached = caching()
    async with cached.gateway:
        await cached.ask()
        row = cached.gateway.use(ProxyCache, strategy="memory", cache_ttl=20)
        cached.gateway.remove("plugins", row)
        await cached.gateway.apply()
        assert await cached.outcome() == "Hit"


async def test_what_is_asked_for_before_a_purge_is_not_kept():
    asked, gate = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"old"
        asked.set()
        await gate.wait()

    cached = caching()
    async with cached.gateway:
        cached.gateway.service.answer = lambda _: StreamingResponse(slow(), headers=PLAIN)
        asking = asyncio.create_task(cached.ask())
        await asyncio.wait_for(asked.wait(), 10)
        cached.store.purge_all()
        gate.set()
        assert (await asking).text == "old"
        answering(cached)
        assert await cached.outcome() == "Miss"


async def test_it_is_counted():
    cached = caching(cache_ttl=10, storage_ttl=100)
    async with cached.gateway:
        await cached.outcomes({}, {})
        cached.now += 20
        await cached.outcomes({}, {}, {})
        await cached.ask(method="DELETE")
        counts = cached.store.counts
    assert (counts.miss, counts.hit, counts.refresh, counts.bypass) == (1, 3, 1, 1)


async def test_texts_of_the_compat_mode_are_judged_as_they_came():
    cached = caching({"compat": "kong"})
    async with cached.gateway:
        cached.gateway.service.answer = PlainTextResponse("x", headers=PLAIN)
        miss, hit = [await cached.ask() for _ in range(2)]
    assert (
        miss.headers["Content-Type"] == hit.headers["Content-Type"] == "text/plain; charset=UTF-8"
    )
    assert (hit.headers["X-Cache-Status"], hit.headers["X-Kong-Upstream-Latency"]) == ("Hit", "0")


async def test_a_large_body_comes_whole_again_and_again():
    body = bytes(range(256)) * 2000
    cached = caching()
    async with cached.gateway:
        answering(cached, body=body)
        answers = [await cached.ask() for _ in range(3)]
    assert [it.content for it in answers] == [body] * 3
    assert {it.headers["Content-Length"] for it in answers} == {str(len(body))}

"""What is measured: each scenario's contenders, the last one the yardstick, and its bars."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.bars import Bar
from benchmarks.gateway import ISSUER, KEY, SECRET
from benchmarks.load import PLAIN, Load, Messages, Requests
from benchmarks.measure import Contender
from benchmarks.stage import Stage
from benchmarks.tls import agreed
from gateway.balancing.group import ALGORITHMS

KB = 1024
VALID_S = 86_400


@dataclass(frozen=True, slots=True)
class Scenario:
    """Contenders that are measured side by side, in the order of the list `SCENARIOS`.

    ``contenders`` may first change the stage: routes only ever become more.
    """

    name: str
    title: str
    contenders: Callable[[Stage], list[Contender]]
    bars: tuple[Bar, ...] = ()
    takes_long: bool = False


def _against_nginx(name: str, title: str, load: Load, *bars: Bar) -> Scenario:
    return Scenario(name, title, lambda stage: stage.pair(load), bars)


def _plain(stage: Stage) -> list[Contender]:
    peers = [Contender(peer.name, peer.server, peer.port) for peer in reversed(stage.peers)]
    return [stage.gateway_under(PLAIN), *peers]


def _over_tls(load: Requests) -> Callable[[Stage], list[Contender]]:
    def contenders(stage: Stage) -> list[Contender]:
        nginx = stage.peers[0]
        ours, theirs = agreed(stage.gateway.tls_port), agreed(nginx.tls_port)
        if ours != theirs:
            raise RuntimeError(f"no fair comparison: {ours} with the gateway, {theirs} with nginx")
        return [
            Contender("gateway", stage.node, stage.gateway.tls_port, load),
            Contender(nginx.name, nginx.server, nginx.tls_port, load),
        ]

    return contenders


def _random_against_nginx(stage: Stage) -> list[Contender]:
    stage.gateway.fill(10_000)
    return stage.pair(Requests(route_count=10_000))


def _churn(stage: Stage) -> list[Contender]:
    stage.gateway.fill(10_000)
    load = Requests(route_count=10_000)
    node, port = stage.node, stage.gateway.port
    churn = Contender("churn", node, port, load, lambda: stage.gateway.churn(10_000))
    return [churn, stage.gateway_under(load, "quiet")]


def _random_against_one(stage: Stage) -> list[Contender]:
    stage.gateway.fill(100_000)
    return [
        stage.gateway_under(Requests(route_count=100_000), "at random"),
        stage.gateway_under(Requests(path="/r/50000"), "always one"),
    ]


def _balanced(algorithm: str) -> Scenario:
    def contenders(stage: Stage) -> list[Contender]:
        ten = stage.gateway_under(Requests(f"/{algorithm}"), "ten targets")
        return [ten, stage.gateway_under(PLAIN, "one target")]

    title = f"Gateway, plain, ten targets by {algorithm}"
    return Scenario(algorithm, title, contenders, (Bar("requests_per_s", 0.95),))


def _token() -> str:
    """Return a JSON Web Token (RFC 7519) that is valid for longer than any bench takes."""
    claims = {"iss": ISSUER, "exp": int(time.time()) + VALID_S}
    parts = ({"alg": "HS256", "typ": "JWT"}, claims)
    signed = ".".join(_base64url(json.dumps(part).encode()) for part in parts)
    signature = hmac.digest(SECRET.encode(), signed.encode(), "sha256")
    return f"{signed}.{_base64url(signature)}"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


SCENARIOS = (
    Scenario(
        "plain",
        "One route, 100-byte body",
        _plain,
        (Bar("requests_per_s", 0.5), Bar("p99_ms", 2.5)),
    ),
    _against_nginx(
        "own-headers",
        "Plain, every request and response with headers of its own",
        Requests("/own", own_headers=True),
    ),
    _against_nginx(
        "guarded",
        "Plain, with key-auth and rate-limiting (nginx has neither)",
        Requests("/guarded", header=f"apikey: {KEY}"),
        Bar("requests_per_s", 0.42),
    ),
    _against_nginx(
        "jwt",
        "Plain, with a token in HS256 that jwt verifies (nginx has nothing like it)",
        Requests("/jwt", header=f"Authorization: Bearer {_token()}"),
    ),
    _against_nginx(
        "transformed",
        "Plain, with request-transformer: two headers and an argument",
        Requests("/transformed"),
    ),
    _against_nginx(
        "cached",
        "Plain, from the cache of proxy-cache (nginx has none, and asks the upstream)",
        Requests("/cached"),
        Bar("requests_per_s", 0.6),
    ),
    *(_balanced(algorithm) for algorithm in ALGORITHMS),
    _against_nginx("close", "Plain, a connection for each request", Requests(keep_alive=False)),
    _against_nginx("10k", "10 KB body", Requests("/10k"), Bar("requests_per_s", 0.5)),
    _against_nginx("1m", "1 MB body", Requests("/1m"), Bar("requests_per_s", 0.65)),
    _against_nginx("post-1k", "POST of 1 KB", Requests("/post", body_bytes=KB)),
    _against_nginx("post-100k", "POST of 100 KB", Requests("/post", body_bytes=100 * KB)),
    Scenario(
        "tls",
        "Plain over TLS, keep-alive",
        _over_tls(Requests(tls=True)),
        (Bar("requests_per_s", 0.4),),
    ),
    Scenario(
        "tls-close",
        "Plain over TLS, a connection and a full handshake for each request",
        _over_tls(Requests(tls=True, keep_alive=False)),
    ),
    _against_nginx(
        "websocket",
        "WebSocket, messages of 100 bytes echoed: each counts as a request",
        Messages("/ws"),
    ),
    Scenario("routes-10k", "10,000 routes at random; nginx has none", _random_against_nginx),
    Scenario(
        "churn",
        "Gateway, 10,000 routes, one changed every 0.5 s",
        _churn,
        (Bar("p99_ms", 2.0),),
    ),
    Scenario(
        "routes-100k",
        "Gateway, 100,000 routes",
        _random_against_one,
        (Bar("requests_per_s", 0.8),),
        takes_long=True,
    ),
)

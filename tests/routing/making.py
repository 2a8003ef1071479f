"""Short ways to write routes, and to ask which one takes a request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from uuid import NAMESPACE_OID, UUID, uuid5

from gateway.routing import Candidate, Router, RouteRule, compile_rule, select

HTTP = frozenset({"http", "https"})


def rule(
    name: str,
    *,
    hosts: Sequence[str] = (),
    paths: Sequence[str] = (),
    methods: Iterable[str] = (),
    headers: Mapping[str, Sequence[str]] | None = None,
    snis: Iterable[str] = (),
    protocols: Iterable[str] = HTTP,
    regex_priority: int = 0,
    created_at: float = 0,
    rule_id: UUID | None = None,
) -> RouteRule:
    return RouteRule(
        id=rule_id or uuid5(NAMESPACE_OID, name),
        created_at=created_at,
        protocols=frozenset(protocols),
        hosts=tuple(hosts),
        paths=tuple(paths),
        methods=frozenset(methods),
        headers={key: tuple(values) for key, values in (headers or {}).items()},
        snis=frozenset(snis),
        regex_priority=regex_priority,
        payload=name,
    )


def router(*rules: RouteRule, compatible: bool = False) -> Router:
    compiled = [compile_rule(made, compatible=compatible) for made in rules]
    return Router().with_changes(compiled, ())


def chosen(
    router: Router,
    path: bytes = b"/",
    *,
    host: bytes = b"any.test",
    method: bytes = b"GET",
    headers: Sequence[tuple[bytes, bytes]] = (),
    tls: bool = False,
    sni: bytes | None = None,
) -> Candidate | None:
    return select(router.candidates(tls, method, host, path), headers, sni)


def winner(
    router: Router,
    path: bytes = b"/",
    *,
    host: bytes = b"any.test",
    method: bytes = b"GET",
    headers: Sequence[tuple[bytes, bytes]] = (),
    tls: bool = False,
    sni: bytes | None = None,
) -> str | None:
    """Return the name of the route that takes the request."""
    candidate = chosen(router, path, host=host, method=method, headers=headers, tls=tls, sni=sni)
    return None if candidate is None else candidate.payload

"""The operations on the health of upstreams and targets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gateway.admin.openapi.entities import WRITTEN
from gateway.admin.openapi.errors import NOT_FOUND, OF_BODIES
from gateway.admin.openapi.json_schema import (
    BOOLEAN,
    INTEGER,
    TEXT,
    UUID,
    Schema,
    answered_schema,
    list_of,
    or_null,
    record,
)
from gateway.admin.openapi.operation import Answer, Operation, Parameter
from gateway.admin.openapi.parameters import ROW_OFFSET, SIZE, WAIT, key_of
from gateway.entities.target import TARGETS
from gateway.entities.upstream import UPSTREAMS

_OF_UPSTREAM = ["HEALTHY", "UNHEALTHY", "HEALTHCHECKS_OFF"]
_WEIGHT = record(total=INTEGER, available=INTEGER, unavailable=INTEGER)


def operations() -> Iterator[Operation]:
    """Yield what there is to ask and to say of health."""
    yield Operation(
        id="get_health_of_upstream",
        method="GET",
        path="/upstreams/{upstreams}/health",
        about=UPSTREAMS.table,
        summary="Tell the health of the targets of an upstream, or of the upstream",
        doc="As the node sees it that answers.",
        parameters=(
            key_of(UPSTREAMS),
            SIZE,
            ROW_OFFSET,
            Parameter(
                "balancer_health",
                "query",
                "`1`: of the upstream as a whole, in place of a page of targets.",
                {**TEXT, "enum": ["1"]},
            ),
        ),
        answers={
            200: Answer("Their health.", {"anyOf": [_targets(), _upstream()]}),
            404: NOT_FOUND,
        },
    )
    for word, effect in (("healthy", "Let it have traffic"), ("unhealthy", "Give it no traffic")):
        yield from _marks(word, effect)


def _marks(word: str, effect: str) -> Iterator[Operation]:
    """Yield what marks a target, and one address of it; POST is what Kong had before 3.0."""
    target = "/upstreams/{upstreams}/targets/{targets}"
    keys = (key_of(UPSTREAMS), key_of(TARGETS))
    address = Parameter(
        "address", "path", "One of its addresses.", {**TEXT, "minLength": 1}, "10.0.8.1:9000"
    )
    for place, parameters, what in (
        (target, keys, "target"),
        (f"{target}/{{address}}", (*keys, address), "address"),
    ):
        for method in ("PUT", "POST"):
            yield Operation(
                id=f"{method.lower()}_{word}_{what}",
                method=method,
                path=f"{place}/{word}",
                about=TARGETS.table,
                summary=f"Mark {'a target' if what == 'target' else 'one address of a target'} "
                f"as {word}",
                doc=f"{effect}, on all nodes, until a health check finds otherwise.",
                deprecated=method == "POST",
                parameters=(*parameters, *WAIT),
                answers={
                    204: Answer("All nodes are told.", headers=WRITTEN),
                    **OF_BODIES,
                    404: NOT_FOUND,
                },
            )


def _targets() -> Schema:
    target = answered_schema(TARGETS)
    health = {**TEXT, "enum": [*_OF_UPSTREAM, "DNS_ERROR"]}
    of_address = {"health": {**TEXT, "enum": _OF_UPSTREAM}}
    told = {"health": health, "data": _balanced(of_address)}
    page = record(
        data=list_of({**target, "properties": {**target["properties"], **told}}),
        next=or_null(TEXT),
        node_id=UUID,
    )
    page["properties"]["offset"] = TEXT
    return page


def _upstream() -> Schema:
    data = record(
        id=UUID,
        health={**TEXT, "enum": _OF_UPSTREAM},
        balancer_health={**TEXT, "enum": _OF_UPSTREAM[:2]},
        details=record(
            healthy=BOOLEAN, weight=_WEIGHT, hosts=list_of(_balanced({"healthy": BOOLEAN}))
        ),
    )
    body = record(next=or_null(TEXT), node_id=UUID)
    body["properties"]["data"] = data
    return body


def _balanced(of_address: Mapping[str, Schema]) -> Schema:
    """Return what is told of a target's place in the balancer."""
    return record(
        host=TEXT,
        port=INTEGER,
        dns=TEXT,
        nodeWeight=INTEGER,
        weight=_WEIGHT,
        addresses=list_of(record(ip=TEXT, port=INTEGER, weight=INTEGER, **of_address)),
    )

"""The operations that tell of the node that answers, and of its cluster; schemas and documents."""

from __future__ import annotations

from dataclasses import replace

from gateway.admin.openapi.errors import NOT_FOUND, OF_ALL, OF_BODIES
from gateway.admin.openapi.json_schema import (
    BOOLEAN,
    INTEGER,
    MOMENT,
    NUMBER,
    OBJECT,
    TEXT,
    UUID,
    list_of,
    map_of,
    open_record,
    or_null,
    record,
    reference,
)
from gateway.admin.openapi.operation import Answer, Body, Header, Operation, Parameter
from gateway.admin.openapi.parameters import OFFSET, SIZE

NODE, CLUSTER, SCHEMAS, DOCUMENTS = "node", "cluster", "schemas", "documents"

_ROOT = open_record(
    tagline=TEXT,
    version={**TEXT, "description": "The level of Kong's Admin API that is spoken."},
    gateway={**TEXT, "description": "The version of this software."},
    edition=TEXT,
    hostname=TEXT,
    node_id=UUID,
    node_name=TEXT,
    python_version=TEXT,
    timers=record(running=INTEGER, pending=INTEGER),
    plugins=record(
        available_on_server=map_of(record(version=TEXT, priority=INTEGER)),
        enabled_in_cluster=or_null(list_of(TEXT)),
    ),
    configuration={**OBJECT, "description": "All settings, secrets as asterisks."},
    pids=record(master=INTEGER, workers=list_of(INTEGER)),
)
_STATUS = open_record(
    node=open_record(
        id=UUID,
        name=TEXT,
        version=TEXT,
        started_at=MOMENT,
        proxy_address=TEXT,
        admin_address=TEXT,
        status_address=TEXT,
        ready=BOOLEAN,
    ),
    sync=open_record(
        strategy=TEXT,
        state=TEXT,
        source={**TEXT, "enum": ["database", "disk", "control plane"]},
        epoch=or_null(UUID),
        applied_version=or_null(INTEGER),
        applied_committed_at=or_null(MOMENT),
        seen_version=or_null(INTEGER),
        seconds_since_success=or_null(NUMBER),
        last_error=or_null(TEXT),
        last_apply_ms=or_null(NUMBER),
        last_propagation_ms=or_null(NUMBER),
        strategy_restarts=INTEGER,
        strategy_problem=or_null(TEXT),
    ),
    memory=record(
        lua_shared_dicts=OBJECT,
        workers_lua_vms=list_of(
            record(pid=INTEGER, http_allocated_gc={"type": ["string", "integer"]})
        ),
    ),
    server=map_of(INTEGER),
    database=record(reachable=BOOLEAN),
    disk_copy=or_null(record(path=TEXT, version=or_null(INTEGER), problem=or_null(TEXT))),
    bad_entities=list_of(record(entity=TEXT, id=TEXT, reason=TEXT)),
)
_HEALTH = or_null(
    record(
        checked=INTEGER,
        unhealthy=INTEGER,
        addresses=list_of(record(upstream=TEXT, target=TEXT, address=TEXT)),
    )
)
_CLUSTER = record(
    config_version=INTEGER,
    epoch=UUID,
    committed_at=MOMENT,
    answered_by=UUID,
    nodes=list_of(
        record(
            id=UUID,
            name=TEXT,
            proxy_address=or_null(TEXT),
            admin_address=or_null(TEXT),
            status_address=or_null(TEXT),
            role=TEXT,
            strategy=TEXT,
            software_version=TEXT,
            started_at=MOMENT,
            last_seen=MOMENT,
            last_seen_age_s=NUMBER,
            applied_version=or_null(INTEGER),
            lag=or_null(INTEGER),
            alive=BOOLEAN,
            health=_HEALTH,
        )
    ),
)
_DATA_PLANE = open_record(
    id=UUID,
    config_hash=TEXT,
    hostname=TEXT,
    ip=TEXT,
    last_seen=INTEGER,
    version=TEXT,
    updated_at=INTEGER,
    sync_status=TEXT,
    labels=map_of(TEXT),
    cert_details=OBJECT,
    rpc_capabilities=list_of(TEXT),
    ttl=INTEGER,
    first_seen=INTEGER,
    last_seen_age_s=NUMBER,
    applied_version=or_null(INTEGER),
    lag=or_null(INTEGER),
    control_plane_id=UUID,
    health=_HEALTH,
)
_DATA_PLANES = open_record(
    data=list_of(_DATA_PLANE),
    next=or_null(TEXT),
    config_version=INTEGER,
    config_hash=TEXT,
)
_DATA_PLANES_BY_ID = map_of(record(config_hash=TEXT, hostname=TEXT, ip=TEXT, last_seen=INTEGER))
_FIELDS = list_of({**map_of(open_record(type=TEXT)), "minProperties": 1, "maxProperties": 1})
_SCHEMA = open_record(fields=_FIELDS, entity_checks=list_of(OBJECT))

_NOT_A_CONTROL_PLANE = replace(
    OF_ALL[400], component="", doc="The node is no control plane, or a parameter is bad."
)
_VALID = Answer(
    "It would be accepted.",
    record(message=TEXT),
    example={"message": "schema validation successful"},
)
_ENTITY = Parameter("entity", "path", "A table, as `services`.", {**TEXT, "minLength": 1})
_PLUGIN = Parameter("plugin", "path", "A plugin's name.", {**TEXT, "minLength": 1})
_DEPRECATED = {"Deprecation": Header("`true`: there is a newer way.", always=True)}


def operations() -> list[Operation]:
    """Return what there is to ask a node."""
    return [*_of_node(), *_of_cluster(), *_of_schemas(), *_of_documents()]


def _of_node() -> list[Operation]:
    return [
        Operation(
            id="get_node",
            method="GET",
            path="/",
            about=NODE,
            summary="Say which node this is, what it speaks and how it is set",
            answers={200: Answer("The node.", _ROOT)},
        ),
        Operation(
            id="get_status",
            method="GET",
            path="/status",
            about=NODE,
            summary="Say what the node serves from and what it is busy with",
            parameters=(
                Parameter(
                    "unit",
                    "query",
                    "Unit of the memory in use.",
                    {**TEXT, "enum": list("bkmgBKMG"), "default": "m"},
                ),
                Parameter("scale", "query", "Its decimals.", {**INTEGER, "default": 2}),
            ),
            answers={200: Answer("Its status.", _STATUS)},
        ),
    ]


def _of_cluster() -> list[Operation]:
    return [
        Operation(
            id="get_cluster",
            method="GET",
            path="/cluster",
            about=CLUSTER,
            summary="Say which nodes there are, how far each has got and what is unhealthy to it",
            answers={200: Answer("The cluster.", _CLUSTER)},
        ),
        Operation(
            id="list_data_planes",
            method="GET",
            path="/clustering/data-planes",
            about=CLUSTER,
            summary="List the data planes",
            parameters=(SIZE, OFFSET),
            answers={
                200: Answer("One page.", _DATA_PLANES),
                400: _NOT_A_CONTROL_PLANE,
            },
        ),
        Operation(
            id="get_clustering_status",
            method="GET",
            path="/clustering/status",
            about=CLUSTER,
            summary="Return the data planes by id",
            deprecated=True,
            answers={
                200: Answer("The data planes.", _DATA_PLANES_BY_ID, headers=_DEPRECATED),
                400: _NOT_A_CONTROL_PLANE,
            },
        ),
    ]


def _of_schemas() -> list[Operation]:
    return [
        Operation(
            id="get_schema",
            method="GET",
            path="/schemas/{entity}",
            about=SCHEMAS,
            summary="Return the schema of an entity in Kong's shape",
            parameters=(_ENTITY,),
            answers={200: Answer("The schema.", _SCHEMA), 404: NOT_FOUND},
        ),
        Operation(
            id="validate",
            method="POST",
            path="/schemas/{entity}/validate",
            about=SCHEMAS,
            summary="Say whether an entity would be accepted",
            doc="Not checked is whether references lead anywhere and names are free. "
            "What the query holds counts as well.",
            parameters=(_ENTITY,),
            body=Body(OBJECT, {"host": "orders.internal"}),
            answers={200: _VALID, **OF_BODIES, 404: NOT_FOUND},
        ),
        Operation(
            id="get_plugin_schema",
            method="GET",
            path="/schemas/plugins/{plugin}",
            about=SCHEMAS,
            summary="Return the schema of a plugin in Kong's shape",
            parameters=(_PLUGIN,),
            answers={200: Answer("The schema.", _SCHEMA), 404: NOT_FOUND},
        ),
        Operation(
            id="validate_plugin",
            method="POST",
            path="/schemas/plugins/validate",
            about=SCHEMAS,
            summary="Say whether a plugin entity would be accepted",
            body=Body(reference("PluginUseFields"), {"name": "key-auth"}),
            answers={200: _VALID, **OF_BODIES},
        ),
        Operation(
            id="get_plugin_config_schema",
            method="GET",
            path="/plugins/schema/{plugin}",
            about=SCHEMAS,
            summary="Return the schema of a plugin's configuration",
            parameters=(_PLUGIN,),
            deprecated=True,
            answers={
                200: Answer("The fields.", record(fields=_FIELDS)),
                404: NOT_FOUND,
            },
        ),
    ]


def _of_documents() -> list[Operation]:
    return [
        Operation(
            id="list_endpoints",
            method="GET",
            path="/endpoints",
            about=DOCUMENTS,
            summary="List the paths there are",
            answers={200: Answer("The paths.", record(data=list_of(TEXT)))},
        ),
        Operation(
            id="get_openapi",
            method="GET",
            path="/openapi.json",
            about=DOCUMENTS,
            summary="Return this description as OpenAPI 3.1",
            answers={200: Answer("The document.", open_record(openapi=TEXT, paths=OBJECT))},
        ),
        Operation(
            id="get_docs",
            method="GET",
            path="/docs",
            about=DOCUMENTS,
            summary="Return this description as a page to read",
            answers={200: Answer("The page.", TEXT, media_type="text/html")},
        ),
    ]

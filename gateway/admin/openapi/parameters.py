"""Parameters that many operations have."""

from __future__ import annotations

from gateway.admin.barrier import DEFAULT_TIMEOUT_S, LONGEST_TIMEOUT_S
from gateway.admin.openapi import examples
from gateway.admin.openapi.json_schema import INTEGER, TEXT
from gateway.admin.openapi.operation import Parameter
from gateway.admin.query import DEFAULT_SIZE, LARGEST_SIZE, MOST_TAGS
from gateway.entities.entity_type import EntityType

SIZE = Parameter(
    "size",
    "query",
    "How many to return at most; of large ones there are fewer.",
    {**INTEGER, "minimum": 1, "maximum": LARGEST_SIZE, "default": DEFAULT_SIZE},
    component="size",
)
OFFSET = Parameter(
    "offset",
    "query",
    "`offset` of the previous page, to go on after it.",
    component="offset",
)
ROW_OFFSET = Parameter(
    "offset",
    "query",
    "`offset` of the previous page, to go on after it.",
    {**TEXT, "pattern": "^[0-9]{1,9}$"},
    component="row_offset",
)
TAGS = Parameter(
    "tags",
    "query",
    f"Only those with these tags: `a,b` with both, `a/b` with one of them; {MOST_TAGS} at most.",
    example="shop,eu",
    component="tags",
)
CUSTOM_ID = Parameter("custom_id", "query", "Only the consumer that another system calls so.")

WAIT = (
    Parameter(
        "wait",
        "query",
        "`cluster`: answer once every live node serves the change; see `X-Gateway-Propagation`.",
        {**TEXT, "enum": ["cluster"]},
        component="wait",
    ),
    Parameter(
        "timeout",
        "query",
        f"How long to wait at most, up to {LONGEST_TIMEOUT_S:g} seconds.",
        {
            **TEXT,
            "pattern": r"^[0-9]{1,6}(\.[0-9]{1,6})?(ms|s)?$",
            "default": f"{DEFAULT_TIMEOUT_S:g}s",
        },
        example="500ms",
        component="timeout",
    ),
)
"""How a write waits for the cluster."""

IF_MATCH = Parameter(
    "If-Match",
    "header",
    "An `ETag`: write only if the entity is still in that state. `*`: only if it is there.",
    component="if_match",
)
IF_NONE_MATCH = Parameter(
    "If-None-Match",
    "header",
    "An `ETag`: answer only if the entity is in another state. `*` with PUT: only create.",
    component="if_none_match",
)
CONDITIONS = (IF_MATCH, IF_NONE_MATCH)


_ALSO_BY = {"certificates": "the name of one of its SNIs", "acls": "below a consumer its group"}
"""What stands for an id in a URL where there is no endpoint key."""


def key_of(entity_type: EntityType) -> Parameter:
    """Return the path parameter that names one entity."""
    other = entity_type.endpoint_key or _ALSO_BY.get(entity_type.table)
    by = f"id or {other}" if other else "id"
    return Parameter(
        entity_type.table,
        "path",
        f"The {entity_type.singular.replace('_', ' ')}, by its {by}.",
        {**TEXT, "minLength": 1},
        example=examples.key_of(entity_type),
        component=entity_type.table,
    )

"""The operations that look over all kinds of entities, and those on what there is nothing of."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.admin.filter_chains import filter_chain_paths
from gateway.admin.openapi.errors import OF_ALL, OF_BODIES
from gateway.admin.openapi.json_schema import TEXT, UUID, list_of, page_of, record
from gateway.admin.openapi.operation import Answer, Operation, Parameter
from gateway.admin.openapi.parameters import OFFSET, SIZE, key_of
from gateway.entities import ENTITIES

TAGS, FILTER_CHAINS = "tags", "filter_chains"

_TAG_PAGE = Answer("One page.", page_of(record(entity_name=TEXT, entity_id=UUID, tag=TEXT)))
_TAG = Parameter("tags", "path", "The tag.", {**TEXT, "minLength": 1}, example="shop")


def operations() -> Iterator[Operation]:
    """Yield what there is to ask, and what there is not."""
    yield Operation(
        id="list_tags",
        method="GET",
        path="/tags",
        about=TAGS,
        summary="List the tags of all entities",
        parameters=(SIZE, OFFSET),
        answers={200: _TAG_PAGE},
    )
    yield Operation(
        id="list_tagged_entities",
        method="GET",
        path="/tags/{tags}",
        about=TAGS,
        summary="List the entities that have a tag",
        parameters=(_TAG, SIZE, OFFSET),
        answers={200: _TAG_PAGE},
    )
    yield Operation(
        id="list_enabled_plugins",
        method="GET",
        path="/plugins/enabled",
        about="plugins",
        summary="Name the plugins that this node has",
        answers={200: Answer("Their names.", record(enabled_plugins=list_of(TEXT)))},
    )
    yield from _of_filter_chains()


def _of_filter_chains() -> Iterator[Operation]:
    parents = [key_of(ENTITIES[table]) for table in ("services", "routes")]
    key = Parameter("filter_chains", "path", "A filter chain.", {**TEXT, "minLength": 1})
    for path, handlers in filter_chain_paths().items():
        named = [it for it in (*parents, key) if f"{{{it.name}}}" in path]
        suffix = "".join(f"_of_{it.name}" for it in parents if it in named)
        one = "one_" if key in named else ""
        for method in handlers:
            bodies = OF_BODIES if method in ("POST", "PUT", "PATCH") else {}
            yield Operation(
                id=f"{method.lower()}_{one}filter_chains{suffix}",
                method=method,
                path=path,
                about=FILTER_CHAINS,
                summary="Is refused",
                parameters=tuple(named),
                answers={400: OF_ALL[400], **bodies},
            )

"""The top level of a declarative file: its version, what applies to all of it, its sections.

Reference sheet decl-config.md, sections A1 and B1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from gateway.declarative.problems import Place, Problems
from gateway.entities import ENTITIES, Given
from gateway.entities.errors import REQUIRED, error_tree
from gateway.entities.types import Tag

FORMAT_VERSIONS = ("1.1", "2.1", "3.0")

KONG_ONLY = frozenset(
    {
        *("vaults", "keys", "key_sets", "filter_chains", "sessions", "acme_storage"),
        *("oauth2_credentials", "oauth2_tokens", "mtls_auth_credentials"),
        *("consumer_groups", "partials", "licenses"),
    }
)
"""Kinds of entities that Kong has and we do not: only an empty list of them is taken."""

_IGNORED = frozenset({"_comment", "_ignore", "workspaces", "parameters"})
_INFO_IGNORED = frozenset(
    {
        "default_lookup_tags",
        "consumer_group_policy_overrides",
        "include_plugin_definitions",
        "skip_hash_for_basic_auth",
    }
)
_TABLES_BY_SINGULAR = {entity.singular: table for table, entity in ENTITIES.items()}
_TAGS: TypeAdapter[list[str]] = TypeAdapter(list[Tag])


@dataclass(frozen=True, slots=True)
class Document:
    """A file, its top level checked; ``sections`` are the lists of entities by table.

    ``transform`` is false when the values are in stored form; ``defaults`` are by table.
    """

    format_version: str = "3.0"
    transform: bool = True
    select_tags: tuple[str, ...] = ()
    defaults: Mapping[str, Given] = field(default_factory=dict)
    plugin_configs: Mapping[str, Given] = field(default_factory=dict)
    sections: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def selecting(self, tags: Sequence[str], problems: Problems) -> Document:
        """Return the file with the tags that the caller selects, which must be the file's own."""
        if tags and self.select_tags and set(tags) != set(self.select_tags):
            problems.add(
                ("_info", "select_tags"),
                f"the file selects {', '.join(self.select_tags)} and the caller "
                f"{', '.join(tags)}: give the tags in one place only",
            )
        return replace(self, select_tags=_select_tags(list(tags), problems)) if tags else self


def parse_document(value: Any, problems: Problems) -> Document:
    """Return the document that a value read from a file is; what is wrong is added to problems."""
    if not isinstance(value, dict):
        problems.add(("_format_version",), REQUIRED)
        return Document()
    info = _record(value, "_info", problems)
    for key in value.keys() - _known_keys():
        if (problem := unknown_field(key, value[key])) is not None:
            problems.add((key,), problem)
    for key in info.keys() - _INFO_IGNORED - {"select_tags", "defaults"}:
        problems.add(("_info", key), "unknown field")
    return Document(
        format_version=_format_version(value, problems),
        transform=_transform(value, problems),
        select_tags=_select_tags(info.get("select_tags") or [], problems),
        defaults=_defaults(info, problems),
        plugin_configs=_plugin_configs(value, problems),
        sections={table: _section(value, table, problems) for table in ENTITIES},
    )


def unknown_field(key: str, value: Any) -> str | None:
    """Return why a field that nothing declares is refused; an empty list of Kong's own is not."""
    if key not in KONG_ONLY:
        return "unknown field"
    if value in (None, [], {}):
        return None
    return f"this gateway has no '{key}': take them out of the file"


def _known_keys() -> set[str]:
    own = {"_format_version", "_transform", "_info", "_plugin_configs"}
    return own | _IGNORED | ENTITIES.keys()


def _format_version(value: Given, problems: Problems) -> str:
    version = value.get("_format_version")
    if isinstance(version, str) and version in FORMAT_VERSIONS:
        return version
    if version is None:
        text = REQUIRED
    elif isinstance(version, str):
        text = f"expected one of: {', '.join(FORMAT_VERSIONS)}"
    else:
        text = "expected a string"
    problems.add(("_format_version",), text)
    return FORMAT_VERSIONS[-1]


def _transform(value: Given, problems: Problems) -> bool:
    transform = value.get("_transform")
    if transform is not None and not isinstance(transform, bool):
        problems.add(("_transform",), "expected a boolean")
    return transform is not False


def _select_tags(tags: Any, problems: Problems) -> tuple[str, ...]:
    try:
        return tuple(dict.fromkeys(_TAGS.validate_python(tags, strict=True)))
    except ValidationError as error:
        tree = error_tree(
            {**found, "loc": ("select_tags", *found["loc"])}
            for found in error.errors(include_url=False)
        )
        problems.add(("_info",), tree)
        return ()


def _defaults(info: Given, problems: Problems) -> dict[str, Given]:
    defaults: dict[str, Given] = {}
    for singular, fields in _records(info, "defaults", ("_info",), problems).items():
        place: Place = ("_info", "defaults", singular)
        table = _TABLES_BY_SINGULAR.get(singular)
        if table is None:
            problems.add(place, "unknown field")
            continue
        for key in fields.keys() & {"id", ENTITIES[table].endpoint_key}:
            problems.add((*place, key), "an identity can be no default")
        defaults[table] = fields
    return defaults


def _plugin_configs(value: Given, problems: Problems) -> dict[str, Given]:
    return _records(value, "_plugin_configs", (), problems)


def _section(value: Given, table: str, problems: Problems) -> Sequence[Any]:
    section = value.get(table)
    if section is None:
        return []
    if not isinstance(section, list):
        problems.add((table,), "expected an array")
        return []
    return section


def _records(
    parent: Given, key: str, place: Place, problems: Problems
) -> dict[str, dict[str, Any]]:
    """Return those members of a map that are records; the others are problems."""
    records = _record(parent, key, problems, place)
    for name, record in records.items():
        if not isinstance(record, dict):
            problems.add((*place, key, name), "expected a record")
    return {name: record for name, record in records.items() if isinstance(record, dict)}


def _record(parent: Given, key: str, problems: Problems, place: Place = ()) -> dict[str, Any]:
    record = parent.get(key)
    if record is None:
        return {}
    if not isinstance(record, dict):
        problems.add((*place, key), "expected a record")
        return {}
    return record

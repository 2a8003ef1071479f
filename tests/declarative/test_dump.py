"""What is kept becomes a file again, flat or nested, from which the same would be kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from gateway.declarative.checking import check
from gateway.declarative.export import flat_document
from gateway.declarative.nesting import nested_document
from gateway.declarative.plan import make_plan
from gateway.declarative.reading import read
from gateway.declarative.state import State
from gateway.declarative.text import Format, as_text
from gateway.plugins import registry

from .documents import Document, documents
from .plugins import Limit

FILES = sorted((Path(__file__).parent / "files").iterdir())


@pytest.fixture
def present(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "present", lambda: {"limit": Limit})


def kept(document: Any) -> State:
    rows: dict[str, list[dict[str, Any]]] = {}
    for change in make_plan(check(document), State.of({})).changes:
        rows.setdefault(change.type.table, []).append(change.row)
    return State.of(rows)


def changes(document: Any, state: State) -> list[Any]:
    return make_plan(check(document), state).changes


@given(documents())
def test_a_dump_declares_what_is_kept(document: Document) -> None:
    state = kept(document)
    flat = flat_document(state)
    nested = nested_document(flat)
    assert changes(flat, state) == []
    assert changes(nested, state) == []
    # From nothing on: the flat one even with the same ids, the nested one again the same file.
    again = flat_document(kept(flat))
    assert {key: _entities(again, key) for key in again} == {k: _entities(flat, k) for k in flat}
    assert nested_document(flat_document(kept(nested))) == nested


@given(documents())
def test_a_dump_survives_being_text(document: Document) -> None:
    nested = nested_document(flat_document(kept(document)))
    for form in ("yaml", "json"):
        assert read(as_text(nested, form)) == nested


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
@pytest.mark.parametrize("with_id", [False, True])
def test_the_files_of_kong_and_deck_come_back_equal(file: Path, with_id: bool) -> None:
    state = kept(read(file.read_text()))
    flat = flat_document(state)
    assert changes(flat, state) == []
    nested = nested_document(flat, with_id=with_id)
    assert read(as_text(nested)) == nested
    assert changes(nested, state) == []
    assert nested_document(flat_document(kept(nested)), with_id=with_id) == nested


def test_an_export_of_kong_comes_back_with_every_field() -> None:
    (file,) = [file for file in FILES if file.name == "kong-3.9-export.yaml"]
    exported = read(file.read_text())
    flat = flat_document(kept(exported))
    for table in exported.keys() - {"workspaces", "parameters"}:
        assert _entities(flat, table) == _entities(exported, table)


@pytest.mark.parametrize("algorithm", ["consistent-hashing", "latency", "round-robin", None])
def test_an_upstream_keeps_its_algorithm(algorithm: str | None) -> None:
    upstream = {"name": "pool.test", "algorithm": algorithm}
    state = kept({"_format_version": "3.0", "upstreams": [upstream]})
    flat = flat_document(state)
    assert flat["upstreams"][0]["algorithm"] == algorithm
    assert changes(flat, state) == changes(nested_document(flat), state) == []


def _entities(document: Document, table: str) -> Any:
    """The entities by id, without the time of the last write, which is the server's to say."""
    section = document[table]
    if isinstance(section, str | bool):
        return section
    return {
        entity["id"]: {name: value for name, value in entity.items() if name != "updated_at"}
        for entity in section
    }


@pytest.mark.usefixtures("present")
def test_a_nested_dump_reads_well() -> None:
    document = {
        "_format_version": "3.0",
        "services": [
            {
                "name": "orders",
                "host": "orders.test",
                "tags": ["shop", "eu"],
                "routes": [{"name": "list", "paths": ["/orders"], "tags": ["eu"]}],
                "plugins": [{"name": "limit", "tags": ["eu"]}],
            }
        ],
        "routes": [{"id": "5f3c9a4e-0d3b-4a52-9a4e-3c1c0b8a7d61", "paths": ["/x"], "tags": ["eu"]}],
        "consumers": [{"username": "bob", "tags": ["eu"]}],
        "plugins": [{"name": "limit", "consumer": "bob", "service": "orders", "tags": ["eu"]}],
    }
    nested = nested_document(flat_document(kept(document)), ["eu"])
    assert list(nested) == [
        "_format_version",
        "_info",
        "services",
        "routes",
        "consumers",
        "plugins",
    ]
    assert nested["_info"] == {"select_tags": ["eu"]}
    (service,) = nested["services"]
    assert "id" not in service
    assert "created_at" not in service
    assert service["tags"] == ["shop"]
    assert service["retries"] == 5
    assert [route["name"] for route in service["routes"]] == ["list"]
    assert "service" not in service["routes"][0]
    assert "tags" not in service["routes"][0]
    assert [plugin["name"] for plugin in service["plugins"]] == ["limit"]
    assert nested["routes"][0]["id"] == "5f3c9a4e-0d3b-4a52-9a4e-3c1c0b8a7d61"
    (plugin,) = nested["plugins"]
    assert (plugin["service"], plugin["consumer"]) == ("orders", "bob")


def test_a_parent_that_is_not_in_the_dump_is_named_by_its_id() -> None:
    services = [{"name": "orders", "host": "orders.test"}]
    routes = [{"name": "r", "paths": ["/"], "service": "orders", "tags": ["eu"]}]
    state = kept({"_format_version": "3.0", "services": services, "routes": routes})
    nested = nested_document(flat_document(state, ["eu"]), ["eu"])
    (service_id,) = state.rows["services"]
    assert [route["service"] for route in nested["routes"]] == [str(service_id)]
    assert "services" not in nested


@pytest.mark.parametrize(
    "text",
    ["yes", "null", "1e3", "0o7", "1_0", "12:30:45", "2024-01-01", "~", "", "a: b", "# x", "'"],
)
@pytest.mark.parametrize("form", ["yaml", "json"])
def test_texts_that_look_like_something_else_stay_texts(text: str, form: Format) -> None:
    assert read(as_text({"key": text}, form)) == {"key": text}


def test_what_other_readers_take_for_a_number_is_quoted() -> None:
    assert as_text({"a": "1e3", "b": ["0o7"]}) == "a: '1e3'\nb:\n- '0o7'\n"


def test_texts_of_several_lines_are_blocks() -> None:
    assert as_text({"cert": "-----BEGIN\nx\n"}) == "cert: |\n  -----BEGIN\n  x\n"

"""Files against a real database: all or nothing, one version, and nobody else's entities."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as limits
from psycopg.rows import dict_row

from gateway.declarative import work
from gateway.declarative.checking import check
from gateway.declarative.nesting import nested_document
from gateway.declarative.problems import InvalidConfigError
from gateway.declarative.reading import read
from gateway.declarative.writing import ROWS_AT_ONCE
from gateway.entities import ENTITIES
from gateway.settings import NodeSettings
from gateway.store.actor import Actor
from gateway.store.store import Store

from .documents import Document, documents

FILES = {p.name: p.read_text() for p in sorted((Path(__file__).parent / "files").iterdir())}
ACTOR = Actor("ci", "192.0.2.1", "request-1")
SERVICE = {"name": "orders", "host": "orders.test"}


def quiet(step: str, done: int, total: int) -> None:
    del step, done, total


async def written(settings: NodeSettings, document: Any, *tags: str) -> dict[str, Any]:
    result = await work.write_all(settings, check(document, tags), ACTOR, quiet)
    assert result.version == result.document["version"]
    return result.document


async def exported(settings: NodeSettings, *tags: str) -> dict[str, Any]:
    return (await work.export(settings, tags, quiet)).document


def declaring(**sections: Any) -> dict[str, Any]:
    return {"_format_version": "3.0", **sections}


def everything(url: str) -> dict[str, Any]:
    """All that a write could change, the version and the audit log among it."""
    tables = [*ENTITIES, "config_version", "changes", "change_sets", "audit"]
    with psycopg.connect(url, row_factory=dict_row) as connection:
        return {t: connection.execute(f"SELECT * FROM {t}").fetchall() for t in tables}


@pytest.mark.parametrize("file", FILES)
async def test_a_file_is_one_version_and_again_none(file: str, settings: NodeSettings) -> None:
    document = read(FILES[file])
    first = await written(settings, document)
    assert first["version"] == 1
    assert first["counts"]["create"] == first["differences_total"] > 100
    again = await written(settings, document)
    assert again["version"] == 1
    assert again["counts"] == {
        "create": 0,
        "update": 0,
        "delete": 0,
        "unchanged": first["counts"]["create"],
    }


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("nested", [False, True])
async def test_what_is_dumped_changes_nothing(
    file: str, nested: bool, settings: NodeSettings
) -> None:
    await written(settings, read(FILES[file]))
    dump = await exported(settings)
    again = await written(settings, nested_document(dump) if nested else dump)
    assert again["differences"] == []
    assert await exported(settings) == dump


@given(document=documents())
@limits(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_was_there_before_a_file_makes_it_what_it_says(
    document: Document, settings: NodeSettings
) -> None:
    async def story() -> None:
        found = await work.compare(settings, check(document), quiet)
        done = await written(settings, document)
        assert done["differences"] == found.document["differences"]
        dump = nested_document(await exported(settings))
        assert (await written(settings, document))["differences"] == []
        assert (await written(settings, dump))["differences"] == []
        await written(settings, declaring())
        await written(settings, dump)
        assert nested_document(await exported(settings)) == dump

    asyncio.run(story())


async def test_names_can_be_swapped_and_handed_on(settings: NodeSettings) -> None:
    await written(settings, declaring(services=[SERVICE, {**SERVICE, "name": "other"}]))
    services = (await exported(settings))["services"]
    ids = {service["name"]: service["id"] for service in services}
    swapped = [
        {**SERVICE, "id": ids["other"]},
        {**SERVICE, "name": "other", "id": ids["orders"]},
    ]
    done = await written(settings, declaring(services=swapped))
    assert (done["counts"]["update"], done["version"]) == (2, 2)
    # One goes, and the one that stays gets its name.
    done = await written(settings, declaring(services=[{**SERVICE, "id": ids["orders"]}]))
    assert (done["counts"]["update"], done["counts"]["delete"]) == (1, 1)
    (service,) = (await exported(settings))["services"]
    assert (service["name"], service["id"]) == ("orders", ids["orders"])


async def test_many_rows_go_in_several_statements(settings: NodeSettings) -> None:
    number = ROWS_AT_ONCE + 1

    def document(method: str) -> dict[str, Any]:
        routes = [{"name": f"r{n}", "paths": ["/"], "methods": [method]} for n in range(number)]
        return declaring(routes=routes)

    steps: list[tuple[str, int, int]] = []
    await work.write_all(settings, check(document("GET")), ACTOR, lambda *told: steps.append(told))
    assert steps == [
        ("compare", 0, 0),
        ("write", 0, number),
        ("write", ROWS_AT_ONCE, number),
        ("write", number, number),
        ("commit", 0, 0),
    ]
    assert (await written(settings, document("PUT")))["counts"]["update"] == number
    done = await written(settings, declaring())
    assert (done["counts"]["delete"], done["version"]) == (number, 3)


async def test_the_audit_log_has_every_change_and_who_made_it(
    settings: NodeSettings, database_url: str
) -> None:
    consumers = [{"username": "bob", "keyauth_credentials": [{"key": "hidden-key"}]}]
    await written(settings, declaring(services=[SERVICE], consumers=consumers))
    audit = everything(database_url)["audit"]
    assert {(line["kind"], line["operation"], line["token"]) for line in audit} == {
        ("services", "create", "ci"),
        ("consumers", "create", "ci"),
        ("keyauth_credentials", "create", "ci"),
    }
    assert "hidden-key" not in json.dumps(audit, default=str)


@pytest.mark.parametrize(
    "broken",
    [
        {"services": [SERVICE, {"name": "bad", "host": "a b"}]},
        {"services": [SERVICE], "routes": [{"paths": ["/"], "service": "nowhere"}]},
        {"services": [SERVICE, SERVICE]},
    ],
)
async def test_a_file_with_an_error_changes_nothing(
    broken: dict[str, Any], settings: NodeSettings, database_url: str
) -> None:
    await written(settings, declaring(services=[{**SERVICE, "name": "there"}]))
    before = everything(database_url)
    with pytest.raises(InvalidConfigError):
        await written(settings, declaring(**broken))
    assert everything(database_url) == before


async def test_a_failure_in_the_middle_of_writing_changes_nothing(
    settings: NodeSettings, database_url: str
) -> None:
    await written(settings, declaring(services=[{**SERVICE, "name": "there"}]))
    before = everything(database_url)

    def fail_at_the_end(step: str, done: int, total: int) -> None:
        if done and done == total:
            raise KeyboardInterrupt

    document = declaring(services=[SERVICE], routes=[{"name": "r", "paths": ["/"]}])
    with pytest.raises(KeyboardInterrupt):
        await work.write_all(settings, check(document), ACTOR, fail_at_the_end)
    assert everything(database_url) == before


async def test_a_comparison_changes_nothing(settings: NodeSettings, database_url: str) -> None:
    before = everything(database_url)
    found = await work.compare(settings, check(declaring(services=[SERVICE])), quiet)
    assert found.document["dry_run"] is True
    assert found.document["counts"]["create"] == 1
    assert everything(database_url) == before


# -- limited to tags


@given(mine=documents(), theirs=documents())
@limits(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_entities_without_the_tags_are_never_touched(
    mine: Document, theirs: Document, settings: NodeSettings
) -> None:
    async def story() -> None:
        await written(settings, theirs)
        there = await exported(settings)
        for document in (mine, declaring()):
            try:
                await written(settings, document, "mine")
            except InvalidConfigError as error:
                assert "has not all of the selected tags: mine" in str(error)  # noqa: PT017
        assert await exported(settings) == there

    asyncio.run(story())


async def test_two_teams_share_a_database(settings: NodeSettings) -> None:
    await written(settings, declaring(services=[SERVICE]), "platform")
    route = {"name": "list", "paths": ["/orders"], "service": "orders"}
    await written(settings, declaring(routes=[route]), "team-a")
    await written(settings, declaring(routes=[{**route, "name": "other"}]), "team-b")
    everyone = await exported(settings)
    assert {tuple(route["tags"]) for route in everyone["routes"]} == {("team-a",), ("team-b",)}
    ours = await exported(settings, "team-a")
    assert [route["name"] for route in ours["routes"]] == ["list"]
    assert "services" not in ours
    with pytest.raises(InvalidConfigError, match="cannot be deleted: 'routes' entity"):
        await written(settings, declaring(), "platform")
    done = await written(settings, declaring(), "team-a")
    assert done["counts"] == {"create": 0, "update": 0, "delete": 1, "unchanged": 0}


# -- passwords and what expires


async def test_a_clear_password_is_known_again_and_a_new_one_replaces_it(
    settings: NodeSettings,
) -> None:
    def document(password: str) -> dict[str, Any]:
        credentials = [{"username": "b", "password": password}]
        return declaring(consumers=[{"username": "bob", "basicauth_credentials": credentials}])

    await written(settings, document("one"))
    (kept,) = (await exported(settings))["basicauth_credentials"]
    assert kept["password"].startswith("$argon2id$")
    assert (await written(settings, document("one")))["differences"] == []
    (difference,) = (await written(settings, document("two")))["differences"]
    assert difference["fields"] == {"password": {"from": "******", "to": "******"}}


async def test_an_expired_key_is_in_nobodys_way(settings: NodeSettings, database_url: str) -> None:
    document = declaring(consumers=[{"username": "b", "keyauth_credentials": [{"key": "k"}]}])
    await written(settings, document)
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE keyauth_credentials SET expires_at = now() - interval '1 s'")
    assert "keyauth_credentials" not in await exported(settings)
    assert (await written(settings, document))["counts"]["create"] == 1


async def test_writers_follow_one_another(settings: NodeSettings, store: Store) -> None:
    """What another writer commits first is part of what the file is compared with."""
    async with store.write() as transaction:
        await transaction.insert("services", {"name": "late", "host": "late.test"})
        writing = asyncio.create_task(written(settings, declaring(services=[SERVICE])))
        await asyncio.wait({writing}, timeout=0.2)
        assert not writing.done()
    done = await writing
    assert (done["counts"]["create"], done["counts"]["delete"], done["version"]) == (1, 1, 2)

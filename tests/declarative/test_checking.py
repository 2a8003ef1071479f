"""A document becomes entities, or a list of all that is wrong with it. Sheet: decl-config.md."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid5

import pytest

from gateway.declarative import checking
from gateway.declarative.bounds import ReadError
from gateway.declarative.flat import Item
from gateway.declarative.merging import merged
from gateway.declarative.problems import MOST_TOLD, InvalidConfigError
from gateway.entities import Row
from gateway.entities.password import is_kept
from gateway.plugins import registry

from ..proxy.certificates import Authority
from .plugins import Alarm, Limit, Stream

SOME_ID = "5f3c9a4e-0d3b-4a52-9a4e-3c1c0b8a7d61"
OTHER_ID = "5f3c9a4e-0d3b-4a52-9a4e-3c1c0b8a7d62"

SERVICE = {"name": "orders", "url": "http://orders.test/v2"}


@pytest.fixture(autouse=True)
def present(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "present", lambda: {p.name: p for p in (Limit, Alarm, Stream)})


def items(document: dict[str, Any], *select_tags: str, version: str = "3.0") -> list[Item]:
    whole = {"_format_version": version, **document}
    return list(checking.check(whole, select_tags).items)


def rows(document: dict[str, Any], table: str, *select_tags: str, **more: str) -> list[Row]:
    found = items(document, *select_tags, **more)
    return [item.checked_row for item in found if item.type.table == table]


def refusal(document: dict[str, Any], *select_tags: str) -> InvalidConfigError:
    with pytest.raises(InvalidConfigError) as refused:
        checking.check({"_format_version": "3.0", **document}, select_tags)
    return refused.value


# -- the top level


@pytest.mark.parametrize(
    ("document", "tree"),
    [
        ({"_format_version": "4.0"}, {"_format_version": "expected one of: 1.1, 2.1, 3.0"}),
        ({"_format_version": 3.0}, {"_format_version": "expected a string"}),
        ({"_transform": 1}, {"_transform": "expected a boolean"}),
        ({"things": []}, {"things": "unknown field"}),
        ({"vaults": [{}]}, {"vaults": "this gateway has no 'vaults': take them out of the file"}),
        ({"services": {}}, {"services": "expected an array"}),
        ({"services": [SERVICE, 1]}, {"services": [None, "expected a record"]}),
        ({"_info": []}, {"_info": "expected a record"}),
        ({"_info": {"x": 1}}, {"_info": {"x": "unknown field"}}),
        ({"_info": {"select_tags": 1}}, {"_info": {"select_tags": "expected an array"}}),
        (
            {"_info": {"defaults": {"thing": {}}}},
            {"_info": {"defaults": {"thing": "unknown field"}}},
        ),
        (
            {"_info": {"defaults": {"service": {"name": "x"}}}},
            {"_info": {"defaults": {"service": {"name": "an identity can be no default"}}}},
        ),
    ],
)
def test_the_top_level_is_checked(document: Any, tree: object) -> None:
    assert refusal(document).tree() == tree


@pytest.mark.parametrize("document", [None, [], "services", {}, {"services": [SERVICE]}])
def test_a_file_must_say_its_version(document: Any) -> None:
    with pytest.raises(InvalidConfigError) as refused:
        checking.check(document)
    assert refused.value.tree() == {"_format_version": "required field missing"}


def test_what_only_kong_and_deck_need_is_passed_over() -> None:
    document = {
        "_comment": "x",
        "_ignore": [1],
        "_info": {"default_lookup_tags": {"services": ["x"]}, "skip_hash_for_basic_auth": True},
        "workspaces": [{"name": "default"}],
        "parameters": [{"key": "cluster_id"}],
        "vaults": [],
        "keys": None,
        "services": [{**SERVICE, "_comment": "x", "_ignore": [], "ws_id": SOME_ID}],
        "consumers": [{"username": "bob", "oauth2_credentials": []}],
    }
    assert {item.name for item in items(document)} == {"orders", "bob"}


# -- nesting and references


def test_children_are_taken_from_their_parents_or_the_top_level_alike() -> None:
    nested = {
        "services": [{**SERVICE, "routes": [{"name": "r", "paths": ["/r"]}]}],
        "upstreams": [{"name": "pool", "targets": [{"target": "a.test"}]}],
        "consumers": [{"username": "bob", "acls": [{"group": "g"}]}],
    }
    flat = {
        "routes": [{"name": "r", "paths": ["/r"], "service": "orders"}],
        "services": [SERVICE],
        "targets": [{"target": "a.test", "upstream": {"name": "pool"}}],
        "upstreams": [{"name": "pool"}],
        "acls": [{"group": "g", "consumer": "bob"}],
        "consumers": [{"username": "bob"}],
    }
    for table, column in (("routes", "service"), ("targets", "upstream"), ("acls", "consumer")):
        parents = {str(item.id): item.name for item in items(flat)}
        (one,), (other,) = rows(nested, table), rows(flat, table)
        assert one[f"{column}_id"] == other[f"{column}_id"]
        assert str(one[f"{column}_id"]) in parents


@pytest.mark.parametrize("service", ["orders", SOME_ID, {"id": SOME_ID}, {"name": "orders"}])
def test_a_parent_is_named_by_id_or_name(service: object) -> None:
    services = [{**SERVICE, "id": SOME_ID}]
    (route,) = rows(
        {"services": services, "routes": [{"paths": ["/"], "service": service}]}, "routes"
    )
    assert route["service_id"] == UUID(SOME_ID)


def test_a_name_that_looks_like_an_id_can_be_referred_to() -> None:
    services = [{**SERVICE, "name": SOME_ID, "id": OTHER_ID}]
    (route,) = rows(
        {"services": services, "routes": [{"paths": ["/"], "service": SOME_ID}]}, "routes"
    )
    assert route["service_id"] == UUID(OTHER_ID)


@pytest.mark.parametrize(
    ("document", "tree"),
    [
        (
            {"routes": [{"paths": ["/"], "service": "x"}]},
            {
                "routes": [
                    {"service": "invalid reference 'service: x' (no such entry in 'services')"}
                ]
            },
        ),
        (
            {"targets": [{"target": "a.test", "upstream": {"id": SOME_ID}}]},
            {
                "targets": [
                    {
                        "upstream": f"invalid reference 'upstream: {SOME_ID}' "
                        "(no such entry in 'upstreams')"
                    }
                ]
            },
        ),
        (
            {"services": [SERVICE | {"routes": [{"paths": ["/"], "service": "orders"}]}]},
            {"services": [{"routes": [{"service": "value must be null"}]}]},
        ),
        (
            {"services": [SERVICE | {"routes": {}}]},
            {"services": [{"routes": "expected an array"}]},
        ),
        (
            {"routes": [{"paths": ["/"], "service": 1}]},
            {"routes": [{"service": "expected a record"}]},
        ),
        (
            {"routes": [{"paths": ["/"], "service": {}}]},
            {"routes": [{"service": {"id": "missing primary key"}}]},
        ),
    ],
)
def test_a_reference_must_lead_to_a_parent(document: dict[str, Any], tree: object) -> None:
    assert refusal(document).tree() == tree


def test_a_reference_may_lead_out_of_a_file_that_is_limited_to_tags() -> None:
    document = {"routes": [{"name": "r", "paths": ["/"], "service": "shared"}]}
    (route,) = items(document, "team-a")
    assert route.outside["service"].value == "shared"


def test_snis_stand_in_their_certificate_as_names_or_objects() -> None:
    pair = Authority().issue("a.test")
    certificate = {"cert": pair.cert_pem, "key": pair.key_pem}
    document = {
        "certificates": [{**certificate, "id": SOME_ID, "snis": ["a.test", {"name": "b.test"}]}],
        "snis": [{"name": "a.test", "certificate": SOME_ID, "tags": ["kept"]}],
    }
    snis = {row["name"]: row for row in rows(document, "snis")}
    assert snis.keys() == {"a.test", "b.test"}
    assert snis["a.test"]["tags"] == ["kept"]
    assert {row["certificate_id"] for row in snis.values()} == {UUID(SOME_ID)}


# -- what the document adds


def test_defaults_of_the_document_fill_what_an_entity_lacks() -> None:
    document = {
        "_info": {
            "defaults": {
                "service": {"retries": 1, "read_timeout": 7},
                "upstream": {"healthchecks": {"active": {"timeout": 9}}},
            }
        },
        "services": [{**SERVICE, "retries": 3}],
        "upstreams": [{"name": "pool", "healthchecks": {"active": {"http_path": "/ping"}}}],
    }
    (service,), (upstream,) = rows(document, "services"), rows(document, "upstreams")
    assert (service["retries"], service["read_timeout"], service["write_timeout"]) == (3, 7, 60_000)
    active = upstream["healthchecks"]["active"]
    assert (active["timeout"], active["http_path"], active["concurrency"]) == (9, "/ping", 10)


def test_plugins_share_configurations() -> None:
    document = {
        "_plugin_configs": {"strict": {"minute": 1, "policy": "redis"}},
        "services": [
            {
                **SERVICE,
                "plugins": [{"name": "limit", "_config": "strict", "config": {"minute": 5}}],
            }
        ],
        "plugins": [{"name": "limit"}],
    }
    configs = {bool(row["service_id"]): row["config"] for row in rows(document, "plugins")}
    assert configs == {
        True: {"minute": 5, "policy": "redis"},
        False: {"minute": 60, "policy": "local"},
    }
    document["plugins"] = [{"name": "limit", "_config": "lax"}, {"name": "absent"}]
    tree = refusal(document).tree()["plugins"]
    assert tree[0] == {"_config": "unknown field"}
    assert tree[1]["name"].startswith("plugin 'absent' not enabled")


HTTPS = ["https"]
TCP = {"protocols": ["tcp"], "sources": [{"port": 1}]}


@pytest.mark.parametrize(
    ("plugin", "problem"),
    [
        ({"route": "h", "protocols": ["https", "tcp"]}, None),
        ({"route": "t", "protocols": HTTPS}, "must match the associated route's protocols"),
        ({"route": "t"}, None),
        ({"route": "t", "protocols": ["https", "http", "grpcs", "grpc"]}, None),
        ({"service": "both", "protocols": HTTPS}, None),
        (
            {"service": "streams", "protocols": HTTPS},
            "must match the protocols of at least one route pointing to this Plugin's service",
        ),
        ({"service": "unused", "protocols": ["tcp"]}, None),
        ({"protocols": ["tcp"]}, None),
    ],
)
def test_protocols_of_a_plugin_go_with_its_routes(plugin: dict[str, Any], problem: str | None):
    document = {
        "services": [
            {"name": "both", "host": "h", "routes": [{"name": "h", "paths": ["/"]}]},
            {"name": "streams", "host": "h", "routes": [{"name": "t", **TCP}]},
            {"name": "unused", "host": "h"},
        ],
        "routes": [{"name": "u", "service": "both", **TCP}],
        "plugins": [{"name": "stream", **plugin}],
    }
    if problem is None:
        assert len(rows(document, "plugins")) == 1
    else:
        assert refusal(document).tree() == {"plugins": [{"protocols": problem}]}


def test_every_entity_gets_the_tags_that_select() -> None:
    document = {
        "_info": {"select_tags": ["a", "b"]},
        "services": [{**SERVICE, "tags": ["x", "b"], "routes": [{"name": "r", "paths": ["/"]}]}],
    }
    assert [item.checked_row["tags"] for item in items(document)] == [["x", "b", "a"], ["a", "b"]]
    assert [item.checked_row["tags"] for item in items(document, "b", "a")] == [
        ["x", "b", "a"],
        ["b", "a"],
    ]
    assert "give the tags in one place only" in str(refusal(document, "c"))


@pytest.mark.parametrize(
    ("version", "written", "stored"),
    [
        ("1.1", "/plain/a-b_c.~", "/plain/a-b_c.~"),
        ("1.1", "/a//b/./c/", "/a/b/c/"),
        ("2.1", "/a%20b", "/a b"),
        ("2.1", "/a%2fb", "/a%2Fb"),
        ("1.1", r"/orders/\d+$", r"~/orders/\d+$"),
        ("2.1", "/a|b", "~/a|b"),
        ("1.1", "~/already", "~/already"),
        ("3.0", "/a|b", "/a|b"),
    ],
)
def test_paths_of_older_versions_become_those_of_today(
    version: str, written: str, stored: str
) -> None:
    document = {"routes": [{"name": "r", "paths": [written]}]}
    (route,) = rows(document, "routes", version=version)
    assert route["paths"] == [stored]


# -- ids


def test_ids_follow_from_the_keys_as_kongs_do() -> None:
    def generated(table: str, key: str) -> UUID:
        return uuid5(uuid5(UUID("fd02801f-0957-4a15-a55a-c8d9606f30b5"), table), key)

    document = {
        "services": [{**SERVICE, "plugins": [{"name": "limit", "consumer": "bob"}]}],
        "upstreams": [{"name": "pool", "targets": [{"target": "a.test:80"}]}],
        "targets": [{"target": "b.test", "upstream": "pool"}],
        "consumers": [{"username": "bob", "acls": [{"group": "g"}], "jwt_secrets": [{"key": "k"}]}],
        "plugins": [{"name": "limit"}, {"name": "limit", "instance_name": "x", "consumer": "bob"}],
    }
    service, pool = generated("services", "orders"), generated("upstreams", "pool")
    bob = generated("consumers", "bob")
    expected = {
        "services": {service},
        "upstreams": {pool},
        "targets": {generated("targets", f"a.test:80:{pool}"), generated("targets", "b.test:pool")},
        "consumers": {bob},
        "acls": {generated("acls", f"acls:{bob}:g")},
        "jwt_secrets": {generated("jwt_secrets", "k")},
        "plugins": {
            generated("plugins", f"plugins:limit::{service}:bob"),
            generated("plugins", "plugins:limit:::"),
            generated("plugins", "x"),
        },
    }
    found: dict[str, set[UUID]] = {}
    for item in items(document):
        found.setdefault(item.type.table, set()).add(item.id)
    assert found == expected


def test_an_id_in_the_file_wins_and_one_without_key_is_random() -> None:
    document = {"routes": [{"id": SOME_ID, "name": "r", "paths": ["/"]}, {"paths": ["/x"]}]}
    first, second = items(document)
    assert first.id == UUID(SOME_ID)
    assert second.id not in {item.id for item in items(document)}


# -- passwords


def test_clear_passwords_are_put_aside_and_stored_ones_kept() -> None:
    def password(written: str, **top: Any) -> tuple[str, str | None]:
        credentials = [{"username": "u", "password": written}]
        consumers = [{"username": "bob", "basicauth_credentials": credentials}]
        *_, item = items({"consumers": consumers, **top})
        assert is_kept(item.checked_row["password"])
        return item.checked_row["password"], item.clear_password

    hexadecimal = "0123456789abcdef0123456789abcdef01234567"
    assert password("secret")[1] == "secret"
    assert password(hexadecimal)[1] == hexadecimal
    assert password(hexadecimal, _transform=False) == (f"{{kong-sha1}}{hexadecimal}", None)
    assert password(f"{{kong-sha1}}{hexadecimal}") == (f"{{kong-sha1}}{hexadecimal}", None)
    credentials = [{"username": "u", "password": "clear", "consumer": "bob"}]
    document = {"consumers": [{"username": "bob"}], "basicauth_credentials": credentials}
    tree = refusal({"_transform": False, **document}).tree()
    assert "expected a stored password" in tree["basicauth_credentials"][0]["password"]


# -- what is wrong


@pytest.mark.parametrize(
    ("document", "place", "text"),
    [
        (
            {"services": [SERVICE, SERVICE]},
            ("services", 1),
            "'services' entity with name set to 'orders'",
        ),
        (
            {"services": [SERVICE | {"id": SOME_ID}, SERVICE | {"id": SOME_ID, "name": "x"}]},
            ("services", 1),
            f"'services' entity with primary key set to '{SOME_ID}'",
        ),
        (
            {
                "upstreams": [{"id": SOME_ID, "name": "pool"}],
                "targets": [
                    {"target": "a.test", "upstream": "pool"},
                    {"target": "a.test:8000", "upstream": SOME_ID},
                ],
            },
            ("targets", 1),
            f"'targets' entity with upstream, target set to '{SOME_ID}, a.test:8000'",
        ),
        (
            {
                "consumers": [
                    {"username": "a", "keyauth_credentials": [{"key": "k"}]},
                    {"username": "b", "keyauth_credentials": [{"key": "k"}]},
                ],
            },
            ("consumers", 1, "keyauth_credentials", 0),
            "'keyauth_credentials' entity with key set to '******'",
        ),
        (
            {"plugins": [{"name": "limit"}, {"name": "limit"}]},
            ("plugins", 1),
            "'plugins' entity with name, route, service, consumer set to 'limit, None, None, None'",
        ),
    ],
)
def test_nothing_may_be_declared_twice(
    document: dict[str, Any], place: tuple[str | int, ...], text: str
) -> None:
    (problem,) = refusal(document).problems
    assert problem.place == place
    assert problem.found == {"@entity": [f"uniqueness violation: {text} already declared"]}


BROKEN = {
    "services": [
        SERVICE,
        {
            "name": "broken",
            "host": "a.test",
            "port": "x",
            "tags": ["t"],
            "routes": [{"name": "r", "paths": ["/ok", "no"]}, {"name": "s", "hosts": ["a.test"]}],
        },
        SERVICE,
    ],
    "consumers": [{"username": "bob", "keyauth_credentials": [{"key": "hidden", "color": "red"}]}],
}


def test_all_that_is_wrong_is_told_at_once_as_a_tree() -> None:
    path = "should start with: / (fixed path) or ~/ (regex path)"
    assert refusal(BROKEN).tree() == {
        "services": [
            None,
            {"port": "expected an integer", "routes": [{"paths": [None, path]}]},
            {
                "@entity": [
                    "uniqueness violation: 'services' entity with name set to 'orders' "
                    "already declared"
                ]
            },
        ],
        "consumers": [{"keyauth_credentials": [{"color": "unknown field"}]}],
    }


def test_all_that_is_wrong_is_told_as_text_with_names() -> None:
    assert set(str(refusal(BROKEN)).splitlines()) == {
        "in 'services':",
        "  - in entry 2 of 'services' (broken):",
        "    in 'port': expected an integer",
        "    in 'routes':",
        "      - in entry 1 of 'routes' (r):",
        "        in 'paths':",
        "          - in entry 2 of 'paths': should start with: / (fixed path) or ~/ (regex path)",
        "  - in entry 3 of 'services' (orders):",
        "    uniqueness violation: 'services' entity with name set to 'orders' already declared",
        "in 'consumers':",
        "  - in entry 1 of 'consumers':",
        "    in 'keyauth_credentials':",
        "      - in entry 1 of 'keyauth_credentials':",
        "        in 'color': unknown field",
    }


def test_all_that_is_wrong_is_told_per_entity_without_secrets() -> None:
    flattened = refusal(BROKEN).flattened()
    by_type = {found["entity_type"]: found for found in flattened if "port" not in str(found)}
    assert by_type["keyauth_credential"] == {
        "entity_type": "keyauth_credential",
        "entity": {"key": "******", "color": "red"},
        "errors": [{"type": "field", "field": "color", "message": "unknown field"}],
    }
    assert by_type["route"]["entity_name"] == "r"
    assert by_type["route"]["errors"][0]["field"] == "paths.2"
    assert by_type["service"]["errors"][0]["type"] == "entity"
    (broken,) = [found for found in flattened if found.get("entity_name") == "broken"]
    assert broken["entity_tags"] == ["t"]


def test_of_a_refused_plugin_its_secrets_are_not_told() -> None:
    config = {"token": "mine", "color": "red"}
    plugins = [{"name": "alarm", "config": config}, {"name": "absent", "config": config}]
    error = refusal({"plugins": plugins})
    assert "mine" not in f"{error} {error.flattened()}"
    assert error.flattened()[0]["entity"]["config"] == {"token": "******", "color": "******"}


def test_what_is_told_is_bounded() -> None:
    routes = [{"name": f"r{n}"} for n in range(MOST_TOLD + 5)]
    error = refusal({"routes": routes})
    assert len(error.flattened()) == MOST_TOLD
    assert str(error).endswith("and 5 more")


# -- several files


def test_files_are_put_together() -> None:
    one = {"_format_version": "3.0", "services": [SERVICE], "_info": {"select_tags": ["a"]}}
    other = {
        "_comment": "x",
        "services": [{"name": "x", "host": "h"}],
        "routes": [{"paths": ["/"]}],
    }
    assert merged([("one", one), ("other", other)]) == {
        "_format_version": "3.0",
        "_info": {"select_tags": ["a"]},
        "services": [SERVICE, {"name": "x", "host": "h"}],
        "routes": [{"paths": ["/"]}],
    }


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"_format_version": "1.1"}, "'_format_version' differs"),
        ({"_info": {"select_tags": ["b"]}}, "'_info.select_tags' differs"),
        ([], "expected a mapping at the top"),
    ],
)
def test_files_must_not_contradict(other: Any, reason: str) -> None:
    one = {"_format_version": "3.0", "_info": {"select_tags": ["a"]}}
    with pytest.raises(ReadError, match=reason):
        merged([("one", one), ("other.yaml", other)])

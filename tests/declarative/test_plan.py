"""A declaration against what is there: what is the same entity, what changes, what must not."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from gateway.declarative.checking import check
from gateway.declarative.differences import MOST_TOLD, summary
from gateway.declarative.plan import Change, Plan, make_plan
from gateway.declarative.problems import InvalidConfigError
from gateway.declarative.state import State
from gateway.plugins import registry

from ..proxy.certificates import Authority
from .plugins import Alarm, Limit

SERVICE = {"name": "orders", "host": "orders.test"}


@pytest.fixture(autouse=True)
def present(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "present", lambda: {"limit": Limit, "alarm": Alarm})


def planned(document: dict[str, Any], state: State, *select_tags: str) -> Plan:
    return make_plan(check({"_format_version": "3.0", **document}, select_tags), state)


def having(document: dict[str, Any]) -> State:
    """The state of a database that was given a document when it was empty."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for change in planned(document, State.of({})).changes:
        rows.setdefault(change.type.table, []).append({**change.row})
    return State.of(rows)


def told(plan: Plan) -> list[tuple[str, str, frozenset[str]]]:
    return [(c.operation, c.type.table, c.columns) for c in plan.changes]


def refusal(document: dict[str, Any], state: State, *select_tags: str) -> dict[str, Any]:
    with pytest.raises(InvalidConfigError) as refused:
        planned(document, state, *select_tags)
    return refused.value.tree()


def only(changes: list[Change]) -> Change:
    (change,) = changes
    return change


KEYS = {"name", "username", "target", "key", "group"}


def with_ids(document: dict[str, Any]) -> dict[str, Any]:
    """The same entities, nested ones included, under ids of their own."""

    def renewed(value: Any) -> Any:
        match value:
            case list():
                return [renewed(item) for item in value]
            case dict():
                parts = {key: renewed(part) for key, part in value.items()}
                return {"id": str(uuid4()), **parts} if parts.keys() & KEYS else parts
            case _:
                return value

    return {table: renewed(section) for table, section in document.items()}


WHOLE = {
    "services": [{**SERVICE, "routes": [{"name": "list", "paths": ["/orders"]}]}],
    "upstreams": [{"name": "pool", "targets": [{"target": "a.test:80"}]}],
    "consumers": [
        {
            "username": "bob",
            "custom_id": "7",
            "keyauth_credentials": [{"key": "k"}],
            "jwt_secrets": [{"key": "j"}],
            "hmacauth_credentials": [{"username": "h"}],
            "acls": [{"group": "readers"}],
        }
    ],
}


@pytest.mark.parametrize("again", [WHOLE, with_ids(WHOLE)])
def test_an_entity_is_known_by_what_is_unique_whatever_its_id(again: dict[str, Any]) -> None:
    plan = planned(again, having(WHOLE))
    assert plan.changes == []
    assert plan.unchanged == 9


def test_a_known_entity_keeps_its_id_and_age_and_all_that_belongs_to_it_follows() -> None:
    state = having(WHOLE)
    (stored,) = state.rows["services"].values()
    changed = with_ids({"services": [{**SERVICE, "port": 81, "created_at": 1}]})
    changed["services"][0]["routes"] = [{"name": "list", "paths": ["/orders"]}]
    plan = planned({**WHOLE, **changed}, state)
    update = only(plan.changes)
    assert (update.operation, update.columns) == ("update", {"port"})
    assert (update.row["id"], update.row["created_at"]) == (stored["id"], stored["created_at"])
    assert update.row["updated_at"] > stored["updated_at"]


def test_what_is_not_in_the_file_goes_children_first() -> None:
    plan = planned({}, having(WHOLE))
    tables = [change.type.table for change in plan.changes]
    assert {change.operation for change in plan.changes} == {"delete"}
    assert tables.index("routes") < tables.index("services")
    assert tables.index("targets") < tables.index("upstreams")
    assert tables.index("acls") < tables.index("consumers")


def test_an_id_comes_before_a_name() -> None:
    state = having({"services": [SERVICE]})
    (id_,) = state.rows["services"]
    plan = planned({"services": [{**SERVICE, "name": "renamed", "id": str(id_)}]}, state)
    assert told(plan) == [("update", "services", {"name"})]


def test_two_entities_may_swap_their_names() -> None:
    state = having({"services": [SERVICE, {**SERVICE, "name": "other"}]})
    ids = {row["name"]: str(id_) for id_, row in state.rows["services"].items()}
    swapped = [
        {**SERVICE, "id": ids["other"]},
        {**SERVICE, "name": "other", "id": ids["orders"]},
    ]
    plan = planned({"services": swapped}, state)
    assert told(plan) == [("update", "services", {"name"})] * 2
    assert plan.yielding == {"services": set(state.rows["services"])}


def test_nameless_entities_are_known_by_their_content() -> None:
    document = {
        "services": [
            {**SERVICE, "routes": [{"paths": ["/a"]}, {"paths": ["/b"]}, {"paths": ["/b"]}]}
        ]
    }
    state = having(document)
    assert planned(document, state).changes == []
    document["services"][0]["routes"][0]["paths"] = ["/c"]
    assert [c.operation for c in planned(document, state).changes] == ["create", "delete"]


def test_certificates_are_known_by_what_they_are_and_take_their_references_along() -> None:
    pair, ca = Authority().issue("a.test"), Authority("other").pem
    one, other = str(uuid4()), str(uuid4())

    def document(cert_id: str, ca_id: str, cert: str) -> dict[str, Any]:
        service = {**SERVICE, "protocol": "https", "ca_certificates": [ca_id]}
        return {
            "certificates": [
                {"id": cert_id, "cert": cert, "key": pair.key_pem, "snis": ["a.test"]}
            ],
            "ca_certificates": [{"id": ca_id, "cert": ca}],
            "services": [service | {"client_certificate": cert_id}],
        }

    state = having(document(one, one, pair.cert_pem))
    assert planned(document(other, other, pair.cert_pem), state).changes == []
    plan = planned(document(other, other, f"\n{pair.cert_pem}\n"), state)
    assert told(plan) == [("update", "certificates", {"cert"})]


@pytest.mark.parametrize(
    ("before", "after"),
    [({"tags": ["a", "b"]}, {"tags": ["b", "a"]}), ({"tags": []}, {}), ({}, {"tags": []})],
)
def test_the_order_of_tags_is_no_difference(before: dict[str, Any], after: dict[str, Any]) -> None:
    state = having({"services": [{**SERVICE, **before}]})
    assert planned({"services": [{**SERVICE, **after}]}, state).changes == []


def test_the_order_of_methods_is_a_difference() -> None:
    state = having({"routes": [{"name": "r", "methods": ["GET", "PUT"]}]})
    plan = planned({"routes": [{"name": "r", "methods": ["PUT", "GET"]}]}, state)
    assert told(plan) == [("update", "routes", {"methods"})]


def test_a_time_to_live_counts_from_when_it_was_written_first() -> None:
    def document(**ttl: Any) -> dict[str, Any]:
        return {"consumers": [{"username": "b", "keyauth_credentials": [{"key": "k", **ttl}]}]}

    state = having(document(ttl=100))
    assert planned(document(ttl=200), state).changes == []
    assert told(planned(document(), state)) == [("update", "keyauth_credentials", {"expires_at"})]


def test_what_the_server_made_up_stays() -> None:
    document = {"consumers": [{"username": "b", "jwt_secrets": [{"key": "k"}]}]}
    state = having(document)
    assert planned(document, state).changes == []
    document["consumers"][0]["jwt_secrets"][0]["secret"] = "mine"
    assert told(planned(document, state)) == [("update", "jwt_secrets", {"secret"})]


def test_a_plugins_config_that_is_taken_out_goes_back_to_its_defaults() -> None:
    state = having({"plugins": [{"name": "limit", "config": {"minute": 5}}]})
    plan = planned({"plugins": [{"name": "limit"}]}, state)
    assert only(plan.changes).row["config"] == {"minute": 60, "policy": "local"}


# -- limited to tags


TAGGED = having({"_info": {"select_tags": ["team-a"]}, **WHOLE})
UNTAGGED = having(WHOLE)


def test_what_lacks_a_tag_is_left_alone() -> None:
    assert planned({}, UNTAGGED, "team-a").changes == []
    assert planned({}, TAGGED, "team-a", "other").changes == []
    assert len(planned({}, TAGGED, "team-a").changes) == 9


def test_an_entity_that_lacks_a_tag_is_not_taken_over() -> None:
    (id_,) = UNTAGGED.rows["services"]
    for service in (SERVICE, {**SERVICE, "name": "new", "id": str(id_)}):
        tree = refusal({"services": [service]}, UNTAGGED, "team-a")
        (text,) = tree["services"][0]["@entity"]
        assert text.endswith("exists, but has not all of the selected tags: team-a")


def test_what_is_left_alone_can_be_referred_to() -> None:
    route = {"name": "new", "paths": ["/new"], "service": "orders"}
    plan = planned({"routes": [route]}, UNTAGGED, "team-a")
    (service_id,) = UNTAGGED.rows["services"]
    assert only(plan.changes).row["service_id"] == service_id
    route["service"] = str(service_id)
    assert only(planned({"routes": [route]}, UNTAGGED, "team-a").changes).row["service_id"]
    route["service"] = "nowhere"
    text = "invalid reference 'service: nowhere' (no such entry in 'services')"
    assert refusal({"routes": [route]}, UNTAGGED, "team-a") == {"routes": [{"service": text}]}


def test_what_goes_cannot_be_referred_to() -> None:
    tree = refusal({"routes": [{"paths": ["/x"], "service": "orders"}]}, TAGGED, "team-a")
    assert tree["routes"][0]["service"].startswith("invalid reference 'service: orders'")


@pytest.mark.parametrize(("parent", "child"), [("services", "routes"), ("consumers", "acls")])
def test_nothing_goes_that_takes_along_what_is_left_alone(parent: str, child: str) -> None:
    rows = {table: list(rows.values()) for table, rows in TAGGED.rows.items()}
    rows[child] = [{**row, "tags": None} for row in rows[child]]
    (text,) = refusal({}, State.of(rows), "team-a")["@entity"]
    assert text.startswith(f"'{parent}' entity ")
    assert f"cannot be deleted: '{child}' entity " in text


def test_a_ca_certificate_stays_as_long_as_a_service_trusts_it() -> None:
    id_ = str(uuid4())
    services = [{**SERVICE, "protocol": "https", "ca_certificates": [id_]}]
    cas = [{"id": id_, "cert": Authority().pem}]
    state = having({"ca_certificates": cas, "services": services})
    assert "@entity" in refusal({"services": services}, state)
    assert len(planned({}, state).changes) == 2


# -- as it is told


def test_differences_tell_fields_names_and_owners_but_no_secrets() -> None:
    state = having(WHOLE)
    changed = {
        "services": [{**SERVICE, "routes": [{"name": "new", "paths": ["/new"]}]}],
        "upstreams": [
            {
                "name": "pool",
                "healthchecks": {"active": {"timeout": 3}},
                "targets": [{"target": "a.test:80", "weight": 1}],
            }
        ],
        "consumers": [
            {"username": "bob", "custom_id": "7", "jwt_secrets": [{"key": "j", "secret": "s"}]}
        ],
    }
    told = summary(planned(changed, state), state)
    assert told["counts"] == {"create": 1, "update": 3, "delete": 4, "unchanged": 2}
    assert told["entities"]["routes"] == {"create": 1, "delete": 1}
    assert told["differences_total"] == len(told["differences"]) == 8
    by_name = {
        (d["operation"], d["entity"]): {k: v for k, v in d.items() if k != "id"}
        for d in told["differences"]
    }
    assert by_name["create", "routes"] == {
        "operation": "create",
        "entity": "routes",
        "name": "new",
        "fields": {"name": {"to": "new"}, "paths": {"to": ["/new"]}, "service": {"to": "orders"}},
    }
    assert by_name["update", "upstreams"]["fields"] == {
        "healthchecks.active.timeout": {"from": 1, "to": 3}
    }
    assert by_name["update", "targets"]["of"] == "pool"
    assert by_name["update", "jwt_secrets"]["fields"] == {
        "secret": {"from": "******", "to": "******"}
    }
    assert "name" not in by_name["delete", "keyauth_credentials"]


def test_of_a_config_the_plugin_says_what_is_secret() -> None:
    def plugins(**config: str) -> dict[str, Any]:
        return {"plugins": [{"name": "alarm", "config": config}]}

    before, after = plugins(token="first"), plugins(token="second", url="http://b.test")
    (created,) = summary(planned(before, State.of({})), State.of({}))["differences"]
    assert created["fields"]["config"] == {"to": {"url": "http://alarm.test", "token": "******"}}
    state = having(before)
    (updated,) = summary(planned(after, state), state)["differences"]
    assert updated["fields"] == {
        "config.token": {"from": "******", "to": "******"},
        "config.url": {"from": "http://alarm.test", "to": "http://b.test"},
    }


def test_only_so_many_differences_are_told() -> None:
    routes = [{"name": f"r{n}", "paths": ["/"]} for n in range(MOST_TOLD + 1)]
    told = summary(planned({"routes": routes}, State.of({})), State.of({}))
    assert (told["differences_total"], len(told["differences"])) == (MOST_TOLD + 1, MOST_TOLD)


def test_ids_of_other_tables_do_not_matter() -> None:
    id_ = str(uuid4())
    document = {"services": [{**SERVICE, "id": id_}], "consumers": [{"username": "b", "id": id_}]}
    plan = planned(document, State.of({}))
    assert {change.row["id"] for change in plan.changes} == {UUID(id_)}

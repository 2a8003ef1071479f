"""Plugins: where they are used, what their configs may be, and which there are."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import pytest

from gateway.plugins import registry
from tests.proxy.certificates import Authority

from .conftest import created, ids

Client = httpx.AsyncClient
ID = "0b2df6e2-3d4e-4e3d-8f39-0a1d9f9f9f9f"
NOT_FOUND = {"message": "Not found"}
UNIT = {"unit": "request"}
GATE_KEY = {"key_names": ["apikey"], "hide_credentials": False, "anonymous": None}


@pytest.fixture(autouse=True)
async def scopes(client: Client) -> dict[str, dict[str, Any]]:
    """One of each that a plugin can be for."""
    service = await created(client, "/services", name="orders", host="a")
    route = await created(client, "/services/orders/routes", name="r", paths=["/"])
    consumer = await created(client, "/consumers", username="bob")
    return {"service": service, "route": route, "consumer": consumer}


# -- one use


async def test_a_plugin_is_complete_and_can_be_read_back(client: Client):
    plugin = await created(client, "/plugins", name="gate-key", instance_name="door")
    assert {k: v for k, v in plugin.items() if k not in ("id", "created_at", "updated_at")} == {
        "name": "gate-key",
        "instance_name": "door",
        "route": None,
        "service": None,
        "consumer": None,
        "config": GATE_KEY,
        "protocols": ["grpc", "grpcs", "http", "https"],
        "enabled": True,
        "tags": None,
    }
    for segment in (plugin["id"], "door"):
        assert (await client.get(f"/plugins/{segment}")).json() == plugin
    assert (await client.get("/plugins")).json() == {"data": [plugin], "next": None}


async def test_an_instance_name_is_taken_once(client: Client):
    await created(client, "/plugins", name="gate-key", instance_name="door")
    response = await client.post(
        "/plugins", json={"name": "quota", "instance_name": "door", "config": UNIT}
    )
    assert (response.status_code, response.json()["fields"]) == (409, {"instance_name": "door"})


async def test_a_segment_that_cannot_be_an_instance_name(client: Client):
    response = await client.get("/plugins/a b")
    assert (response.status_code, response.json()["name"]) == (400, "invalid unique instance_name")


async def test_a_plugin_that_is_not_present_is_refused_with_those_that_are(client: Client):
    present = ", ".join(sorted(registry.present()))
    text = f"plugin 'nope' not enabled; plugins present on this node: {present}"
    response = await client.post("/plugins", json={"name": "nope", "nonsense": 1})
    assert (response.status_code, response.json()) == (
        400,
        {
            "code": 2,
            "name": "schema violation",
            "message": f"schema violation (name: {text})",
            "fields": {"name": text},
        },
    )
    nameless = await client.put(f"/plugins/{uuid4()}", json={"nonsense": 1})
    assert nameless.json()["fields"] == {"name": "required field missing"}


async def test_what_is_wrong_with_a_config_is_told_where_it_stands(client: Client):
    response = await client.post("/plugins", json={"name": "quota", "config": {"nope": 1}})
    assert (response.status_code, response.json()["message"]) == (
        400,
        "2 schema violations (config.nope: unknown field; config.unit: required field missing)",
    )
    assert response.json()["fields"] == {
        "config": {"nope": "unknown field", "unit": "required field missing"}
    }


# -- for what


@pytest.mark.parametrize("scope", ["service", "route", "consumer"])
async def test_a_plugin_is_for_the_parent_in_the_url(
    client: Client, scopes: dict[str, dict[str, Any]], scope: str
):
    parent = scopes[scope]
    for segment in (parent["id"], parent.get("name") or parent["username"]):
        path = f"/{scope}s/{segment}/plugins"
        made = await created(
            client, path, name="quota", config=UNIT, instance_name="q", **{scope: {"id": ID}}
        )
        assert made[scope] == {"id": parent["id"]}
        for one in (made["id"], "q"):
            assert (await client.get(f"{path}/{one}")).json() == made
            assert (await client.get(f"/plugins/{one}/{scope}")).json() == parent
        assert (await client.get(path)).json() == {"data": [made], "next": None}
        put = await client.put(f"{path}/q", json={"name": "quota", "config": UNIT})
        assert (put.json()["id"], put.json()[scope]) == (made["id"], {"id": parent["id"]})
        assert (await client.delete(f"{path}/q")).status_code == 204
        assert (await client.delete(f"{path}/q")).status_code == 404


@pytest.mark.parametrize("scope", ["service", "route", "consumer"])
async def test_a_plugin_is_not_for_other_parents(client: Client, scope: str):
    made = await created(client, "/plugins", name="quota", config=UNIT)
    parent = "bob" if scope == "consumer" else {"service": "orders", "route": "r"}[scope]
    path = f"/{scope}s/{parent}/plugins/{made['id']}"
    for response in (
        await client.get(path),
        await client.patch(path, json={"enabled": False}),
        await client.delete(path),
        await client.get(f"/plugins/{made['id']}/{scope}"),
        await client.post(f"/{scope}s/nobody/plugins", json={"name": "nope"}),
        await client.get(f"/{scope}s/nobody/plugins"),
    ):
        assert (response.status_code, response.json()) == (404, NOT_FOUND)


async def test_a_plugin_names_what_it_is_for_in_each_way(
    client: Client, scopes: dict[str, dict[str, Any]]
):
    made = await created(
        client,
        "/plugins",
        name="quota",
        config=UNIT,
        service={"name": "orders"},
        route={"name": "r"},
        consumer={"username": "bob"},
    )
    assert {scope: made[scope]["id"] for scope in scopes} == {
        scope: entity["id"] for scope, entity in scopes.items()
    }


async def test_a_scope_that_the_plugin_forbids(client: Client):
    for response in (
        await client.post("/consumers/bob/plugins", json={"name": "gate-key"}),
        await client.post("/plugins", json={"name": "gate-key", "consumer": {"username": "bob"}}),
    ):
        assert (response.status_code, response.json()["fields"]) == (
            400,
            {"consumer": "value must be null"},
        )


async def test_a_plugin_is_used_once_for_the_same_and_nothing_is_the_same_as_nothing(
    client: Client, scopes: dict[str, dict[str, Any]]
):
    service = {"id": scopes["service"]["id"]}
    await created(client, "/plugins", name="gate-key")
    await created(client, "/services/orders/plugins", name="gate-key")
    everywhere = await client.post("/plugins", json={"name": "gate-key"})
    assert (everywhere.status_code, everywhere.json()) == (
        409,
        {
            "code": 5,
            "name": "unique constraint violation",
            "message": "UNIQUE violation detected on "
            "'{consumer=null,name=\"gate-key\",route=null,service=null}'",
            "fields": {"consumer": None, "name": "gate-key", "route": None, "service": None},
        },
    )
    fields = {"consumer": None, "name": "gate-key", "route": None, "service": service}
    other = await created(client, "/routes/r/plugins", name="gate-key")
    for response in (
        await client.post("/services/orders/plugins", json={"name": "gate-key"}),
        await client.put(f"/services/orders/plugins/{uuid4()}", json={"name": "gate-key"}),
        await client.patch(f"/plugins/{other['id']}", json={"route": None, "service": service}),
    ):
        assert (response.status_code, response.json()["fields"]) == (409, fields)


async def test_a_plugin_goes_with_what_it_is_for(client: Client):
    for path in ("/routes/r", "/services/orders"):
        await created(client, f"{path}/plugins", name="gate-key")
        assert (await client.delete(path)).status_code == 204
        assert await ids(client, "/plugins") == []


async def test_through_a_plugin_its_service_is_changed_or_made(client: Client):
    made = await created(client, "/plugins", name="gate-key")
    path = f"/plugins/{made['id']}/service"
    assert (await client.get(path)).status_code == 404
    put = await client.put(path, json={"name": "new", "host": "a"})
    assert put.status_code == 200
    assert (await client.get(path)).json() == put.json()
    assert (await client.patch(path, json={"host": "b"})).json()["host"] == "b"
    assert (await client.delete(path)).status_code == 405


# -- changes


async def test_patch_needs_no_name_and_goes_into_the_config(client: Client):
    config = UNIT | {"alarm": {"url": "http://a"}, "groups": ["a"], "notes": {"a": 1}}
    made = await created(client, "/plugins", name="quota", instance_name="q", config=config)
    changes = {"minute": 5, "alarm": {"after_s": 2}, "groups": ["b"], "notes": {"b": 2}}
    patched = await client.patch("/plugins/q", json={"config": changes})
    assert patched.status_code == 200, patched.text
    assert patched.json()["config"] == made["config"] | {
        "minute": 5,
        "alarm": {"url": "http://a", "token": None, "after_s": 2},
        "groups": ["b"],
        "notes": {"b": 2},
    }
    cleared = await client.patch("/plugins/q", json={"config": {"minute": None, "groups": None}})
    assert cleared.json()["config"]["minute"] is None
    refused = await client.patch("/plugins/q", json={"config": {"unit": None, "nope": 1}})
    assert refused.json()["fields"] == {
        "config": {"unit": "required field missing", "nope": "unknown field"}
    }


async def test_put_gives_what_is_absent_its_default(client: Client):
    await created(client, "/plugins", name="quota", instance_name="q", config=UNIT | {"minute": 5})
    put = (await client.put("/plugins/q", json={"name": "quota", "config": UNIT})).json()
    assert (put["config"]["minute"], put["instance_name"]) == (None, "q")


async def test_another_plugin_needs_its_own_config(client: Client):
    await created(client, "/plugins", name="quota", instance_name="q", config=UNIT)
    refused = await client.patch("/plugins/q", json={"name": "gate-key"})
    assert refused.json()["fields"]["config"]["unit"] == "unknown field"


# -- protocols

TCP = [{"port": 9000}]
OF_ROUTE = {"protocols": "must match the associated route's protocols"}
OF_SERVICE = {
    "protocols": "must match the protocols of at least one route pointing to this Plugin's service"
}


@pytest.mark.parametrize(
    ("path", "protocols", "fields"),
    [
        ("/routes/r", ["https", "tcp"], None),
        ("/routes/r", ["tcp"], OF_ROUTE),
        ("/routes/r", None, None),
        ("/routes/t", ["https", "tcp"], None),
        ("/routes/t", ["http"], OF_ROUTE),
        ("/routes/t", None, None),
        ("/services/orders", ["tcp"], None),
        ("/services/orders", ["https"], None),
        ("/services/web", ["tcp"], OF_SERVICE),
        ("/services/web", ["tcp", "http"], None),
        ("/services/web", None, None),
        ("/services/unused", ["tcp"], None),
        ("/consumers/bob", ["tcp"], None),
        ("", ["tcp"], None),
    ],
)
async def test_protocols_that_are_given_must_be_some_that_are_used(
    client: Client, path: str, protocols: list[str] | None, fields: dict[str, str] | None
):
    await created(client, "/services", name="web", host="a")
    await created(client, "/services", name="unused", host="a")
    await created(client, "/services/web/routes", paths=["/web"])
    await created(client, "/services/orders/routes", name="t", protocols=["tcp"], sources=TCP)
    given: dict[str, Any] = {"name": "quota", "config": UNIT}
    if protocols is not None:
        given["protocols"] = protocols
    posted = await client.post(f"{path}/plugins", json=given)
    put = await client.put(f"{path}/plugins/q", json=given)
    if fields is None:
        assert (posted.status_code, put.status_code) == (201, 409)
        return
    for response in (posted, put):
        assert (response.status_code, response.json()["fields"]) == (400, fields)
    assert await ids(client, "/plugins") == []


async def test_a_change_of_the_protocols_is_checked_against_what_is_stored(client: Client):
    await created(client, "/routes/r/plugins", name="quota", config=UNIT, instance_name="q")
    refused = await client.patch("/plugins/q", json={"protocols": ["tcp"]})
    assert (refused.status_code, refused.json()["fields"]) == (400, OF_ROUTE)
    assert (await client.get("/plugins/q")).json()["protocols"] == ["http", "https"]
    moved = await client.patch("/plugins/q", json={"protocols": ["tcp"], "route": None})
    assert moved.status_code == 200


# -- forms


@pytest.mark.parametrize(
    ("form", "config"),
    [
        ("config.minute=5", {"minute": 5}),
        ("config.minute=", {"minute": None}),
        ("config[minute]=5", {"minute": 5}),
        ("config.groups[]=a&config.groups[]=7", {"groups": ["a", "7"]}),
        ("config.groups[1]=a&config.groups[2]=b", {"groups": ["a", "b"]}),
        ("config.groups=a", {"groups": ["a"]}),
        ("config.alarm.after_s=0.5", {"alarm": {"url": None, "token": None, "after_s": 0.5}}),
        ("config.by_path[/a.b]=3", {"by_path": {"/a.b": 3}}),
        ("config.headers.x-a[1]=b", {"headers": {"x-a": ["b"]}}),
        ("config.headers[x-a]=b", {"headers": {"x-a": ["b"]}}),
        (
            "config.limits[1].requests=5&config.limits[2].requests=6",
            {"limits": [{"requests": 5, "window": "day"}, {"requests": 6, "window": "day"}]},
        ),
        ("config.notes.a=1", {"notes": {"a": "1"}}),
    ],
)
async def test_a_form_is_read_as_the_plugins_config_says(
    client: Client, form: str, config: dict[str, Any]
):
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    whole = f"name=quota&instance_name=q&enabled=false&config.unit=7&{form}"
    posted = await client.post("/routes/r/plugins", content=whole, headers=headers)
    assert posted.status_code == 201, posted.text
    assert posted.json()["enabled"] is False
    assert posted.json()["config"] | config | {"unit": "7"} == posted.json()["config"]
    await client.put("/plugins/q", json={"name": "quota", "config": UNIT})
    await client.patch("/plugins/q", json={"route": {"name": "r"}})
    for path in ("/plugins/q", "/routes/r/plugins/q"):
        patched = await client.patch(path, content=form, headers=headers)
        assert patched.status_code == 200, patched.text
        assert patched.json()["config"] | config | UNIT == patched.json()["config"]


async def test_a_form_for_nothing_that_is_known_is_answered_as_any_other(client: Client):
    form = {"data": {"config.minute": "5"}}
    assert (await client.patch("/plugins/q", **form)).status_code == 404
    assert (await client.patch("/plugins/a b", **form)).status_code == 400
    assert (await client.put("/plugins/q", **form)).json()["fields"] == {
        "name": "required field missing"
    }
    nope = await client.post("/plugins", data={"name": "nope", "config.minute": "5"})
    assert nope.json()["fields"]["name"].startswith("plugin 'nope' not enabled")


# -- lists


async def test_plugins_are_listed_in_pages_and_by_tags(client: Client):
    for path in ("", "/services/orders", "/routes/r"):
        await created(client, f"{path}/plugins", name="gate-key", tags=["a"])
    page = (await client.get("/plugins?size=2&tags=a")).json()
    rest = (await client.get(page["next"])).json()
    assert [row["id"] for row in page["data"] + rest["data"]] == sorted(
        str(id_) for id_ in await ids(client, "/plugins")
    )
    assert len(await ids(client, "/services/orders/plugins?tags=none")) == 1


async def test_the_plugins_that_a_node_has(client: Client):
    response = await client.get("/plugins/enabled")
    assert response.json() == {"enabled_plugins": sorted(registry.present())}
    assert (await client.post("/plugins/enabled", json={})).status_code == 405


async def test_a_ca_certificate_that_a_plugin_trusts_cannot_be_deleted(client: Client):
    ca = await created(client, "/ca_certificates", cert=Authority().pem)
    config = UNIT | {"ca_certificates": [ID, ca["id"].upper()]}
    plugin = await created(client, "/plugins", name="quota", config=config)
    refused = await client.delete(f"/ca_certificates/{ca['id']}")
    message = f"ca certificate {ca['id']} is still referenced by plugins (id = {plugin['id']})"
    assert (refused.status_code, refused.json()) == (
        400,
        {"code": 19, "name": "referenced by others", "message": message},
    )
    await client.patch(f"/plugins/{plugin['id']}", json={"config": {"ca_certificates": []}})
    assert (await client.delete(f"/ca_certificates/{ca['id']}")).status_code == 204

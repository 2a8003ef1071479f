"""Certificates with their SNIs, by id and by name; client certificates; CA certificates."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from structlog.testing import capture_logs

from gateway.snapshot import KeyPair
from gateway.store.store import Store
from tests.proxy.certificates import Authority, new_rsa_key

from .conftest import created, ids

Client = httpx.AsyncClient
CA = Authority()
PAIR = CA.issue("a.example")
OTHER = CA.issue("b.example")
RSA_PAIR = CA.issue("a.example", key=new_rsa_key())
NOT_FOUND = {"message": "Not found"}
SNI_NOT_FOUND = {"message": "SNI not found"}


def given(pair: KeyPair = PAIR, **fields: Any) -> dict[str, Any]:
    return {"cert": pair.cert_pem, "key": pair.key_pem, **fields}


def violation(text: str) -> dict[str, Any]:
    """The answer to names that cannot be written."""
    return {
        "code": 2,
        "name": "schema violation",
        "message": f"schema violation (snis: {text})",
        "fields": {"snis": text},
    }


def told(response: httpx.Response) -> tuple[int, Any]:
    return response.status_code, response.json()


async def names(client: Client) -> dict[str, str]:
    """All SNIs, with the ids of their certificates."""
    data = (await client.get("/snis")).json()["data"]
    return {sni["name"]: sni["certificate"]["id"] for sni in data}


# -- create and read


async def test_a_certificate_comes_with_its_names(client: Client):
    made = await created(
        client,
        "/certificates",
        **given(snis=["b.example", "a.example", "*.a.example"], tags=["web"]),
    )
    assert made == given(
        id=made["id"],
        created_at=made["created_at"],
        updated_at=made["updated_at"],
        tags=["web"],
        cert_alt=None,
        key_alt=None,
        snis=["*.a.example", "a.example", "b.example"],
    )
    for segment in (made["id"], "a.example", "b.example", "*.a.example", "%2A.a.example"):
        assert told(await client.get(f"/certificates/{segment}")) == (200, made)
    assert await names(client) == dict.fromkeys(made["snis"], made["id"])


async def test_a_certificate_without_names_has_an_empty_list(client: Client):
    for fields in ({}, {"snis": []}, {"snis": None}):
        assert (await created(client, "/certificates", **given(**fields)))["snis"] == []


async def test_one_write_is_one_version(client: Client):
    first = await client.post("/certificates", json=given(snis=["a.example", "b.example"]))
    second = await client.patch("/certificates/a.example", json={"snis": ["c.example"]})
    third = await client.delete("/certificates/c.example")
    versions = [int(r.headers["X-Gateway-Config-Version"]) for r in (first, second, third)]
    assert versions == [1, 2, 3]


async def test_a_list_has_the_names_of_each(client: Client):
    one = await created(client, "/certificates", **given(snis=["b.example", "a.example"]))
    two = await created(client, "/certificates", **given(OTHER, tags=["x"]))
    three = await created(client, "/certificates", **given(OTHER, snis=["c.example"]))
    listed = (await client.get("/certificates")).json()["data"]
    assert listed == sorted((one, two, three), key=lambda row: row["id"])
    tagged = (await client.get("/certificates?tags=x")).json()["data"]
    assert tagged == [two]
    page = (await client.get("/certificates?size=2")).json()
    rest = (await client.get(page["next"])).json()
    assert page["data"] + rest["data"] == listed


async def test_two_pairs_of_different_types_are_kept(client: Client):
    both = given(cert_alt=RSA_PAIR.cert_pem, key_alt=RSA_PAIR.key_pem)
    made = await created(client, "/certificates", **both)
    assert both.items() <= made.items()
    halved = await client.patch(f"/certificates/{made['id']}", json={"key_alt": None})
    assert halved.json()["fields"] == {
        "@entity": ["all or none of these fields must be set: 'cert_alt', 'key_alt'"]
    }


async def test_a_form_may_carry_it(client: Client):
    fields = given(**{"snis[]": ["a.example", "b.example"]})
    response = await client.post("/certificates", data=fields)
    assert response.status_code == 201
    assert response.json()["snis"] == ["a.example", "b.example"]
    files = {"cert": ("c.pem", PAIR.cert_pem), "key": ("k.pem", PAIR.key_pem)}
    uploaded = await client.post("/certificates", files=files, data={"snis": "c.example"})
    assert uploaded.status_code == 201
    assert (uploaded.json()["cert"], uploaded.json()["snis"]) == (PAIR.cert_pem, ["c.example"])


async def test_what_is_wrong_is_told_at_once(client: Client):
    status, body = told(
        await client.post("/certificates", json={"cert": "x", "key": "y", "snis": ["10.0.0.1"]})
    )
    assert (status, body["fields"]) == (
        400,
        {
            "cert": "invalid certificate: there is no PEM block of a certificate",
            "key": "invalid key: there is no PEM block of a private key",
            "snis": ["must not be an IP"],
        },
    )
    wrong_key = await client.post("/certificates", json=given(key=OTHER.key_pem))
    assert told(wrong_key) == (
        400,
        {
            "code": 2,
            "name": "schema violation",
            "message": "schema violation (certificate does not match key)",
            "fields": {"@entity": ["certificate does not match key"]},
        },
    )


# -- names that cannot be written


async def test_a_name_twice_in_a_list_is_refused(client: Client):
    twice = given(snis=["a.example", "b.example", "a.example"])
    refused = await client.post("/certificates", json=twice)
    assert told(refused) == (400, violation("a.example is duplicated"))
    assert await ids(client, "/certificates") == []


async def test_a_name_of_another_certificate_undoes_the_whole_write(client: Client):
    owner = await created(client, "/certificates", **given(snis=["a.example"]))
    mine = await created(client, "/certificates", **given(OTHER, snis=["b.example"]))
    text = f"a.example already associated with existing certificate '{owner['id']}'"
    path, wanted = f"/certificates/{mine['id']}", ["c.example", "a.example"]
    for refused in (
        await client.post("/certificates", json=given(snis=wanted)),
        await client.put(path, json=given(RSA_PAIR, snis=wanted)),
        await client.put(f"/certificates/{uuid4()}", json=given(snis=wanted)),
        await client.put("/certificates/d.example", json=given(snis=wanted)),
        await client.patch(path, json=given(RSA_PAIR, snis=wanted)),
    ):
        assert told(refused) == (400, violation(text))
    assert await names(client) == {"a.example": owner["id"], "b.example": mine["id"]}
    assert len(await ids(client, "/certificates")) == 2
    assert (await client.get(path)).json() == mine


# -- PUT


async def test_put_replaces_the_whole_with_its_names(client: Client):
    id_ = str(uuid4())
    path = f"/certificates/{id_}"
    first = await client.put(path, json=given(snis=["a.example", "b.example"], tags=["x"]))
    assert (first.status_code, first.json()["id"]) == (200, id_)
    kept = (await client.get("/snis/b.example")).json()
    second = await client.put(path, json=given(OTHER, snis=["c.example", "b.example"]))
    assert second.json()["snis"] == ["b.example", "c.example"]
    assert (second.json()["cert"], second.json()["tags"]) == (OTHER.cert_pem, None)
    assert (await client.get("/snis/b.example")).json() == kept
    single = await client.put(path, json=given(snis="d.example"))
    assert single.json()["snis"] == ["d.example"]
    assert await names(client) == {"d.example": id_}


@pytest.mark.parametrize("fields", [{}, {"snis": None}, {"snis": []}])
async def test_put_without_names_removes_them(client: Client, fields: dict[str, Any]):
    made = await created(client, "/certificates", **given(snis=["a.example", "b.example"]))
    replaced = await client.put(f"/certificates/{made['id']}", json=given(**fields))
    assert (replaced.status_code, replaced.json()["snis"]) == (200, [])
    assert await names(client) == {}


async def test_put_by_a_name_replaces_the_certificate_that_has_it(client: Client):
    made = await created(client, "/certificates", **given(snis=["a.example"]))
    new = given(OTHER, snis=["a.example", "b.example"], id=str(uuid4()))
    replaced = await client.put("/certificates/a.example", json=new)
    assert (replaced.status_code, replaced.json()["id"]) == (200, made["id"])
    assert replaced.json()["snis"] == ["a.example", "b.example"]
    unnamed = await client.put("/certificates/b.example", json=given(OTHER))
    assert (unnamed.json()["id"], unnamed.json()["snis"]) == (made["id"], [])


async def test_put_by_a_new_name_creates_a_certificate_with_it(client: Client):
    made = await client.put("/certificates/a.example", json=given())
    assert (made.status_code, made.json()["snis"]) == (200, ["a.example"])
    id_ = str(uuid4())
    chosen = given(id=id_, snis=["c.example", "b.example"])
    with_more = await client.put("/certificates/b.example", json=chosen)
    assert (with_more.json()["id"], with_more.json()["snis"]) == (id_, ["b.example", "c.example"])
    taken = await client.put("/certificates/d.example", json=given(id=id_))
    assert (taken.status_code, taken.json()["code"]) == (400, 3)
    assert "d.example" not in await names(client)


# -- PATCH


async def test_patch_leaves_names_alone_unless_it_gives_some(client: Client):
    made = await created(client, "/certificates", **given(snis=["a.example", "b.example"]))
    renewed = await client.patch("/certificates/a.example", json=given(OTHER))
    assert renewed.json() == made | {
        "cert": OTHER.cert_pem,
        "key": OTHER.key_pem,
        "updated_at": renewed.json()["updated_at"],
    }
    kept = (await client.get("/snis/b.example")).json()
    path = f"/certificates/{made['id']}"
    listed = await client.patch(path, json={"snis": ["b.example", "c.example"]})
    assert (listed.status_code, listed.json()["snis"]) == (200, ["b.example", "c.example"])
    assert (await client.get("/snis/b.example")).json() == kept
    single = await client.patch(path, json={"snis": "d.example"})
    assert single.json()["snis"] == ["d.example"]
    nothing = await client.patch(path, json={"snis": None})
    assert nothing.json()["snis"] == []
    assert await names(client) == {}


async def test_patch_cannot_part_a_certificate_from_its_key(client: Client):
    made = await created(client, "/certificates", **given(snis=["a.example"]))
    half = {"cert": OTHER.cert_pem, "snis": ["b.example"]}
    refused = await client.patch("/certificates/a.example", json=half)
    assert refused.json()["fields"] == {"@entity": ["certificate does not match key"]}
    for bad, fields in (
        ({"snis": ["a.example", "10.0.0.1"]}, {"snis": [None, "must not be an IP"]}),
        ({"snis": {"a": 1}}, {"snis": "expected an array"}),
        ({"snis": ["a", "a"]}, {"snis": "a is duplicated"}),
    ):
        assert (await client.patch("/certificates/a.example", json=bad)).json()["fields"] == fields
    assert (await client.get("/certificates/a.example")).json() == made


# -- what is not there


async def test_a_name_that_no_certificate_has(client: Client):
    await created(client, "/certificates", **given())
    for response in (
        await client.get("/certificates/nope.example"),
        await client.patch("/certificates/nope.example", json={"tags": ["x"]}),
        await client.delete("/certificates/nope.example"),
        await client.get("/certificates/nope.example/snis"),
        await client.post("/certificates/nope.example/snis", json={"name": "a"}),
        await client.get("/certificates/nope.example/services"),
    ):
        assert told(response) == (404, SNI_NOT_FOUND)
    illegal = await client.get("/certificates/10.0.0.1")
    assert told(illegal) == (
        400,
        {"code": 10, "name": "invalid unique name", "message": "must not be an IP"},
    )


async def test_an_id_that_no_certificate_has(client: Client):
    path = f"/certificates/{uuid4()}"
    assert told(await client.get(path)) == (404, NOT_FOUND)
    assert told(await client.get(f"{path}/snis")) == (404, NOT_FOUND)
    assert (await client.patch(path, json={"tags": ["x"]})).json()["code"] == 6
    assert (await client.delete(path)).status_code == 204


async def test_an_sni_has_no_path_to_its_certificate(client: Client):
    await created(client, "/certificates", **given(snis=["a.example"]))
    assert told(await client.get("/snis/a.example/certificate")) == (404, NOT_FOUND)


# -- SNIs by themselves, and below their certificate


async def test_an_sni_is_made_moved_and_deleted_by_itself(client: Client):
    one = await created(client, "/certificates", **given())
    two = await created(client, "/certificates", **given(OTHER))
    sni = await created(client, "/snis", name="a.example", certificate={"id": one["id"]})
    assert told(await client.get("/snis/a.example")) == (200, sni)
    assert (await client.get(f"/certificates/{one['id']}")).json()["snis"] == ["a.example"]
    moved = await client.patch(f"/snis/{sni['id']}", json={"certificate": {"id": two["id"]}})
    assert moved.json()["certificate"] == {"id": two["id"]}
    assert (await client.get("/certificates/a.example")).json()["id"] == two["id"]
    put = await client.put("/snis/a.example", json={"certificate": {"id": one["id"]}})
    assert (put.json()["id"], put.json()["certificate"]) == (sni["id"], {"id": one["id"]})
    assert (await client.delete("/snis/a.example")).status_code == 204
    assert (await client.get(f"/certificates/{one['id']}")).json()["snis"] == []


async def test_an_sni_belongs_to_the_certificate_in_the_url(client: Client):
    made = await created(client, "/certificates", **given(snis=["a.example"]))
    other = await created(client, "/certificates", **given(OTHER, snis=["b.example"]))
    sni = await created(client, "/certificates/a.example/snis", name="c.example")
    assert sni["certificate"] == {"id": made["id"]}
    below = (await client.get(f"/certificates/{made['id']}/snis")).json()["data"]
    assert {sni["name"] for sni in below} == {"a.example", "c.example"}
    assert told(await client.get("/certificates/a.example/snis/c.example")) == (200, sni)
    stranger = f"/certificates/{other['id']}/snis/c.example"
    assert told(await client.get(stranger)) == (404, NOT_FOUND)
    assert told(await client.delete(stranger)) == (404, NOT_FOUND)
    moved = await client.put(stranger, json={})
    assert (moved.json()["id"], moved.json()["certificate"]) == (sni["id"], {"id": other["id"]})


async def test_a_name_is_there_once(client: Client):
    made = await created(client, "/certificates", **given(snis=["a.example"]))
    taken = {"name": "a.example"}
    for response in (
        await client.post("/snis", json={**taken, "certificate": {"id": made["id"]}}),
        await client.post("/certificates/a.example/snis", json=taken),
    ):
        assert told(response) == (
            409,
            {
                "code": 5,
                "name": "unique constraint violation",
                "message": "UNIQUE violation detected on '{name=\"a.example\"}'",
                "fields": taken,
            },
        )


async def test_an_sni_needs_a_certificate_that_is_there(client: Client):
    missing = {"id": str(uuid4())}
    refused = await client.post("/snis", json={"name": "a.example", "certificate": missing})
    assert told(refused) == (400, missing_certificate("certificate", missing["id"]))


# -- client certificates


def missing_certificate(field: str, id_: str) -> dict[str, Any]:
    return {
        "code": 4,
        "name": "foreign key violation",
        "message": (
            f"the foreign key '{{id=\"{id_}\"}}' does not reference an existing "
            "'certificates' entity."
        ),
        "fields": {field: {"id": id_}},
    }


async def test_a_client_certificate_must_be_there(client: Client):
    missing = {"id": str(uuid4())}
    refusal = (400, missing_certificate("client_certificate", missing["id"]))
    service = {"name": "tls", "url": "https://a"}
    upstream = {"name": "pool"}
    for path, entity in (("/services", service), ("/upstreams", upstream)):
        dangling = {**entity, "client_certificate": missing}
        assert told(await client.post(path, json=dangling)) == refusal
        await created(client, path, **entity)
        one = f"{path}/{entity['name']}"
        assert told(await client.patch(one, json={"client_certificate": missing})) == refusal
        assert told(await client.put(one, json=dangling)) == refusal


@pytest.mark.parametrize(
    ("table", "fields"),
    [("services", {"url": "https://a"}), ("upstreams", {"name": "pool"})],
)
async def test_a_certificate_in_use_stays_with_its_names(
    client: Client, table: str, fields: dict[str, Any]
):
    made = await created(client, "/certificates", **given(snis=["a.example"]))
    mine = {"id": made["id"]}
    user = await created(client, f"/{table}", client_certificate=mine, **fields)
    for segment in (made["id"], "a.example"):
        refused = await client.delete(f"/certificates/{segment}")
        assert told(refused) == (
            400,
            {
                "code": 4,
                "name": "foreign key violation",
                "message": f"an existing '{table}' entity references this 'certificates' entity",
                "fields": {"@referenced_by": table},
            },
        )
    assert (await client.get("/certificates/a.example")).json() == made
    await client.patch(f"/{table}/{user['id']}", json={"client_certificate": None})
    assert (await client.delete("/certificates/a.example")).status_code == 204
    assert await names(client) == {}


async def test_services_and_upstreams_are_found_below_their_certificate(client: Client):
    made = await created(client, "/certificates", **given(snis=["a.example"]))
    mine = {"id": made["id"]}
    service = await created(client, "/certificates/a.example/services", url="https://a")
    upstream = await created(client, f"/certificates/{made['id']}/upstreams", name="pool")
    assert service["client_certificate"] == upstream["client_certificate"] == mine
    listed = (await client.get("/certificates/a.example/services")).json()["data"]
    assert listed == [service]
    one = await client.get("/certificates/a.example/upstreams/pool")
    assert told(one) == (200, upstream)
    plain = await client.post("/certificates/a.example/services", json={"url": "http://a"})
    assert plain.json()["fields"]["client_certificate"] == "value must be null"


async def test_the_client_certificate_is_read_and_changed_through_its_user(client: Client):
    await created(client, "/services", name="tls", url="https://a")
    path = "/services/tls/client_certificate"
    assert told(await client.get(path)) == (404, NOT_FOUND)
    made = await client.put(path, json=given(snis=["a.example"]))
    assert (made.status_code, made.json()["snis"]) == (200, ["a.example"])
    assert told(await client.get(path)) == (200, made.json())
    linked = (await client.get("/services/tls")).json()["client_certificate"]
    assert linked == {"id": made.json()["id"]}
    patched = await client.patch(path, json={"snis": ["b.example"]})
    assert patched.json()["snis"] == ["b.example"]
    replaced = await client.put(path, json=given(OTHER))
    assert (replaced.json()["id"], replaced.json()["snis"]) == (made.json()["id"], [])
    assert (await client.delete(path)).status_code == 405


async def test_a_service_without_tls_gets_no_client_certificate(client: Client):
    await created(client, "/services", name="plain", url="http://a")
    refused = await client.put("/services/plain/client_certificate", json=given())
    assert refused.json()["fields"]["client_certificate"] == "value must be null"
    assert await ids(client, "/certificates") == []


# -- CA certificates


async def test_a_ca_certificate_is_known_by_its_id_and_digest(client: Client):
    made = await created(client, "/ca_certificates", cert=CA.pem, cert_digest="0")
    assert len(made["cert_digest"]) == 64
    assert told(await client.get(f"/ca_certificates/{made['id']}")) == (200, made)
    again = await client.post("/ca_certificates", json={"cert": f"again\n{CA.pem}"})
    assert (again.status_code, again.json()["fields"]) == (
        409,
        {"cert_digest": made["cert_digest"]},
    )
    assert told(await client.get("/ca_certificates/root")) == (
        400,
        {
            "code": 1,
            "name": "invalid primary key",
            "message": "invalid primary key: '{id=\"root\"}'",
            "fields": {"id": "expected a valid UUID"},
        },
    )


async def test_the_digest_follows_the_certificate(client: Client):
    made = await created(client, "/ca_certificates", cert=CA.pem)
    path = f"/ca_certificates/{made['id']}"
    tagged = (await client.patch(path, json={"tags": ["x"], "cert_digest": "0"})).json()
    assert tagged["cert_digest"] == made["cert_digest"]
    for change in (
        await client.patch(path, json={"cert": Authority().pem}),
        await client.put(path, json={"cert": Authority().pem}),
    ):
        assert change.status_code == 200
        assert change.json()["cert_digest"] != made["cert_digest"]
        made = change.json()
    leaf = await client.patch(path, json={"cert": PAIR.cert_pem})
    assert "missing the" in leaf.json()["fields"]["@entity"][0]
    assert (await client.get(path)).json() == made


async def test_a_ca_certificate_in_use_cannot_be_deleted(client: Client):
    used = await created(client, "/ca_certificates", cert=CA.pem)
    free = await created(client, "/ca_certificates", cert=Authority().pem)
    service = await created(
        client, "/services", url="https://a", ca_certificates=[str(uuid4()), used["id"].upper()]
    )
    path = f"/ca_certificates/{used['id']}"
    message = f"ca certificate {used['id']} is still referenced by services (id = {service['id']})"
    assert told(await client.delete(path)) == (
        400,
        {"code": 19, "name": "referenced by others", "message": message},
    )
    assert (await client.delete(f"/ca_certificates/{free['id']}")).status_code == 204
    await client.patch(f"/services/{service['id']}", json={"ca_certificates": None})
    assert (await client.delete(path)).status_code == 204
    assert (await client.delete(path)).status_code == 204


# -- keys stay where they are


@pytest.fixture
def broken_table(database_url: str) -> Iterator[None]:
    """A table that refuses certificates for a reason that nobody expects."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE certificates ADD CHECK (cert IS NULL)")
        yield


@pytest.mark.usefixtures("broken_table")
async def test_a_failing_write_does_not_log_the_key(client: Client, store: Store):
    with capture_logs() as logged:
        response = await client.post("/certificates", json=given())
    assert response.status_code == 500
    (entry,) = logged
    text = response.text + "".join(traceback.format_exception(entry["exc_info"]))
    assert "certificates_cert_check" in text
    assert "-----BEGIN" not in text

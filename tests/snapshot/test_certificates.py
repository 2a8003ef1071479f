"""Certificates, server names and CA certificates on their way into the snapshot and out of it."""

from __future__ import annotations

from uuid import uuid4

import pytest

from gateway.entities import Row
from gateway.snapshot import Certificate, Snapshot, SnapshotApplier
from gateway.snapshot.certificates import (
    compile_ca_certificate,
    compile_certificate,
    compile_sni,
)
from tests.proxy.certificates import Authority, new_rsa_key

from .rows import ca_certificate, certificate, change_load, full_load, service, sni, upstream

CA = Authority()
PAIR = CA.issue("a.example")
OTHER = CA.issue("b.example")
RSA_PAIR = CA.issue("a.example", key=new_rsa_key())


@pytest.fixture
def applier() -> SnapshotApplier:
    return SnapshotApplier(lambda snapshot: None)


def pairs(compiled: Certificate) -> list[tuple[str, str]]:
    return [(pair.cert_pem, pair.key_pem) for pair in compiled.pairs]


def names(snapshot: Snapshot) -> dict[str, object]:
    """Each server name with the certificate it leads to."""
    assert {snapshot.sni_names[id_]: id_ for id_ in snapshot.sni_names} == dict(snapshot.sni_ids)
    assert set(snapshot.snis) == set(snapshot.sni_ids)
    return dict(snapshot.snis)


# -- one row


def test_a_certificate_has_its_pairs_in_order() -> None:
    both = certificate(PAIR, cert_alt=RSA_PAIR.cert_pem, key_alt=RSA_PAIR.key_pem)
    compiled = compile_certificate(both)
    assert compiled.id == both["id"]
    assert pairs(compiled) == [
        (PAIR.cert_pem, PAIR.key_pem),
        (RSA_PAIR.cert_pem, RSA_PAIR.key_pem),
    ]
    assert len(compile_certificate(certificate(PAIR)).pairs) == 1


def test_a_key_is_not_told_by_what_is_printed() -> None:
    assert PAIR.key_pem.splitlines()[1] not in repr(compile_certificate(certificate(PAIR)))


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"cert": "nonsense"}, "no PEM block of a certificate"),
        ({"key": "nonsense"}, "no PEM block of a private key"),
        ({"key": OTHER.key_pem}, "cert does not match key"),
        ({"cert_alt": RSA_PAIR.cert_pem}, "key_alt is not a text"),
        ({"key_alt": RSA_PAIR.key_pem}, "cert_alt is not a text"),
        ({"cert_alt": RSA_PAIR.cert_pem, "key_alt": PAIR.key_pem}, "cert_alt does not match"),
    ],
)
def test_a_row_that_no_context_can_be_made_of_says_why(columns: Row, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        compile_certificate(certificate(PAIR) | columns)


def test_a_name_and_a_ca_are_taken_as_they_are() -> None:
    shown = certificate(PAIR)
    assert compile_sni(sni("*.Example.com", shown)) == ("*.Example.com", shown["id"])
    trusted = ca_certificate(CA.pem)
    assert compile_ca_certificate(trusted) == CA.pem
    with pytest.raises(ValueError, match="no PEM block of a certificate"):
        compile_ca_certificate(trusted | {"cert": "nonsense"})
    with pytest.raises(ValueError, match="name is not a text"):
        compile_sni(sni("a.example", shown) | {"name": None})


# -- services and upstreams that name them


async def test_services_and_upstreams_say_what_their_tls_is(applier: SnapshotApplier) -> None:
    shown, trusted = certificate(PAIR), ca_certificate(CA.pem)
    mine = {"id": str(shown["id"])}
    strict = service(
        protocol="https",
        client_certificate=mine,
        tls_verify=True,
        tls_verify_depth=2,
        ca_certificates=[str(trusted["id"])],
    )
    plain, pool = service(), upstream("pool", client_certificate=mine)
    await applier.apply(
        full_load(
            {
                "certificates": [shown],
                "ca_certificates": [trusted],
                "services": [strict, plain],
                "upstreams": [pool],
            }
        )
    )
    snapshot = applier.current
    compiled = snapshot.services[strict["id"]]
    assert compiled.client_certificate == shown["id"]
    assert (compiled.tls_verify, compiled.tls_verify_depth) == (True, 2)
    assert compiled.ca_certificates == (trusted["id"],)
    unsaid = snapshot.services[plain["id"]]
    assert unsaid.client_certificate is None
    assert (unsaid.tls_verify, unsaid.tls_verify_depth) == (None, None)
    assert unsaid.ca_certificates == ()
    assert snapshot.upstreams[pool["id"]].client_certificate == shown["id"]


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"tls_verify_depth": 65}, "tls_verify_depth 65 is not between 0 and 64"),
        ({"ca_certificates": ["x"]}, "ca_certificates ['x'] are not a list of ids"),
    ],
)
async def test_a_service_with_bad_terms_is_named(
    applier: SnapshotApplier, columns: Row, reason: str
) -> None:
    bad = service(protocol="https") | columns
    await applier.apply(full_load({"services": [bad]}))
    (named,) = applier.bad_entities()
    assert (named.kind, named.id, named.reason) == ("services", str(bad["id"]), reason)


# -- changes


async def test_a_bad_certificate_is_left_out_and_the_rest_is_served(
    applier: SnapshotApplier,
) -> None:
    good, bad = certificate(PAIR), certificate(PAIR) | {"key": OTHER.key_pem}
    await applier.apply(
        full_load(
            {
                "certificates": [good, bad],
                "snis": [sni("a.example", good), sni("b.example", bad)],
                "ca_certificates": [ca_certificate(CA.pem)],
            }
        )
    )
    assert set(applier.current.certificates) == {good["id"]}
    assert names(applier.current) == {"a.example": good["id"], "b.example": bad["id"]}
    assert list(applier.current.ca_certificates.values()) == [CA.pem]
    (named,) = applier.bad_entities()
    assert (named.kind, named.id) == ("certificates", str(bad["id"]))

    cured = bad | {"key": PAIR.key_pem}
    await applier.apply(change_load({"certificates": [cured]}))
    assert set(applier.current.certificates) == {good["id"], bad["id"]}
    assert applier.bad_entities() == []


async def test_a_certificate_that_turns_bad_is_not_served_as_it_was(
    applier: SnapshotApplier,
) -> None:
    shown = certificate(PAIR)
    await applier.apply(full_load({"certificates": [shown]}))
    await applier.apply(change_load({"certificates": [shown | {"cert": "nonsense"}]}))
    assert not applier.current.certificates
    await applier.apply(change_load({}, {"certificates": [shown["id"]]}, version=3))
    assert applier.bad_entities() == []


async def test_a_renewed_certificate_is_a_new_object_and_others_stay(
    applier: SnapshotApplier,
) -> None:
    renewed, untouched = certificate(PAIR), certificate(OTHER)
    await applier.apply(full_load({"certificates": [renewed, untouched]}))
    before = applier.current
    new = {"cert": OTHER.cert_pem, "key": OTHER.key_pem}
    await applier.apply(change_load({"certificates": [renewed | new]}))
    after = applier.current.certificates
    assert pairs(after[renewed["id"]]) == [(OTHER.cert_pem, OTHER.key_pem)]
    assert pairs(before.certificates[renewed["id"]]) == [(PAIR.cert_pem, PAIR.key_pem)]
    assert after[untouched["id"]] is before.certificates[untouched["id"]]


async def test_names_come_go_and_move(applier: SnapshotApplier) -> None:
    one, two = certificate(PAIR), certificate(OTHER)
    name = sni("a.example", one)
    await applier.apply(full_load({"certificates": [one, two], "snis": [name]}))
    assert names(applier.current) == {"a.example": one["id"]}

    moved = name | {"certificate_id": two["id"]}
    await applier.apply(change_load({"snis": [moved]}, version=2))
    assert names(applier.current) == {"a.example": two["id"]}

    await applier.apply(change_load({"snis": [moved | {"name": "b.example"}]}, version=3))
    assert names(applier.current) == {"b.example": two["id"]}

    await applier.apply(change_load({}, {"snis": [name["id"]]}, version=4))
    assert names(applier.current) == {}


async def test_a_name_that_another_row_takes_over_is_not_lost(applier: SnapshotApplier) -> None:
    shown = certificate(PAIR)
    old, new = sni("a.example", shown), sni("a.example", shown)
    await applier.apply(full_load({"certificates": [shown], "snis": [old]}))
    # Rows of a change come before what it deletes.
    await applier.apply(change_load({"snis": [new]}, {"snis": [old["id"]]}))
    assert names(applier.current) == {"a.example": shown["id"]}
    assert dict(applier.current.sni_ids) == {"a.example": new["id"]}


async def test_two_rows_may_swap_their_names(applier: SnapshotApplier) -> None:
    one, two = certificate(PAIR), certificate(OTHER)
    a, b = sni("a.example", one), sni("b.example", two)
    await applier.apply(full_load({"certificates": [one, two], "snis": [a, b]}))
    swapped = [a | {"name": "b.example"}, b | {"name": "a.example"}]
    await applier.apply(change_load({"snis": swapped}))
    assert names(applier.current) == {"a.example": two["id"], "b.example": one["id"]}


async def test_a_name_that_turns_bad_is_gone_until_it_is_cured(applier: SnapshotApplier) -> None:
    shown = certificate(PAIR)
    name = sni("a.example", shown)
    await applier.apply(full_load({"certificates": [shown], "snis": [name]}))
    await applier.apply(change_load({"snis": [name | {"name": 1}]}, version=2))
    assert names(applier.current) == {}
    await applier.apply(change_load({"snis": [name]}, version=3))
    assert names(applier.current) == {"a.example": shown["id"]}
    assert applier.bad_entities() == []


async def test_a_ca_certificate_comes_and_goes(applier: SnapshotApplier) -> None:
    trusted = ca_certificate(CA.pem)
    await applier.apply(full_load({"ca_certificates": [trusted]}))
    assert dict(applier.current.ca_certificates) == {trusted["id"]: CA.pem}
    await applier.apply(change_load({}, {"ca_certificates": [trusted["id"], uuid4()]}))
    assert not applier.current.ca_certificates


async def test_many_certificates_are_compiled_while_other_work_goes_on(
    applier: SnapshotApplier, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces = []
    monkeypatch.setattr(applier._heap, "note_slice", pieces.append)
    many = [certificate(PAIR) for _ in range(100)]
    await applier.apply(full_load({"certificates": many, "services": [service()]}))
    assert len(applier.current.certificates) == 100
    assert max(pieces) <= 8

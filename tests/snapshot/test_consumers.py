"""Consumers, credentials and groups: found by what requests show, in whatever order rows come."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from gateway.entities import Row
from gateway.plugins.identity import Directory
from gateway.snapshot.consumers import DirectoryBuilder

from .rows import row

BOB = row("consumers", username="bob", custom_id="7")
ALICE = row("consumers", username="alice")


def key(consumer: Row, key: str, **columns: Any) -> Row:
    return row("keyauth_credentials", consumer={"id": str(consumer["id"])}, key=key) | columns


def builder_with(*consumers: Row) -> DirectoryBuilder:
    builder = DirectoryBuilder(Directory())
    for consumer in consumers:
        builder.put_consumer(consumer)
    return builder


def test_a_consumer_is_found_by_id_and_user_name():
    directory = builder_with(BOB, ALICE).finish()
    for name in ("bob", BOB["id"], str(BOB["id"])):
        found = directory.consumer(name)
        assert found is not None
        assert found.username == "bob"
    assert directory.consumer("7") is None
    assert directory.consumer("nobody") is None


def test_what_an_upstream_is_told_of_a_consumer():
    directory = builder_with(BOB, ALICE).finish()
    bob, alice = directory.consumers[BOB["id"]], directory.consumers[ALICE["id"]]
    assert bob.lines.decode().split("\r\n")[1:] == [
        f"X-Consumer-ID: {BOB['id']}",
        "X-Consumer-Custom-ID: 7",
        "X-Consumer-Username: bob",
    ]
    assert b"Custom" not in alice.lines


def test_a_name_cannot_break_a_header():
    evil = row("consumers", username="a\r\nX-Admin: 1")
    directory = builder_with(evil).finish()
    assert directory.consumers[evil["id"]].lines.count(b"\r\n") == 2
    assert b"a%0D%0AX-Admin: 1" in directory.consumers[evil["id"]].lines


def test_a_credential_is_found_by_its_name_until_it_expires():
    builder = builder_with(BOB)
    gone = datetime.now(UTC) - timedelta(seconds=1)
    builder.put_credential("keyauth_credentials", key(BOB, "fresh"))
    builder.put_credential("keyauth_credentials", key(BOB, "stale", expires_at=gone))
    directory = builder.finish()
    found = directory.credential("keyauth_credentials", "fresh")
    assert found is not None
    assert found.consumer_id == BOB["id"]
    assert directory.credential("keyauth_credentials", "stale") is None
    assert directory.credential("jwt_secrets", "fresh") is None


def test_names_may_change_hands_within_a_batch():
    builder = builder_with(BOB, ALICE)
    old, new = key(BOB, "k"), key(ALICE, "other")
    for credential in (old, new):
        builder.put_credential("keyauth_credentials", credential)
    builder.put_credential("keyauth_credentials", new | {"key": "k"})
    builder.put_credential("keyauth_credentials", old | {"key": "other"})
    directory = builder.finish()
    owners = {
        name: credential.consumer_id
        for name in ("k", "other")
        if (credential := directory.credential("keyauth_credentials", name))
    }
    assert owners == {"k": ALICE["id"], "other": BOB["id"]}


def test_groups_of_a_consumer():
    builder = builder_with(BOB)
    rows = [
        row("acls", consumer={"id": str(BOB["id"])}, group=group)
        for group in ("writers", "readers")
    ]
    for acl in rows:
        builder.put_group(acl)
    assert builder.finish().groups_of(BOB["id"]) == ["readers", "writers"]


def test_what_is_removed_leaves_nothing():
    builder = builder_with(BOB)
    credential, acl = key(BOB, "k"), row("acls", consumer={"id": str(BOB["id"])}, group="g")
    builder.put_credential("keyauth_credentials", credential)
    builder.put_group(acl)
    builder.remove_credential(credential["id"])
    builder.remove_group(acl["id"])
    builder.remove_consumer(BOB["id"])
    assert builder.finish() == Directory()


def test_a_directory_in_which_nothing_changes_stays_the_same():
    directory = builder_with(BOB).finish()
    assert DirectoryBuilder(directory).finish() is directory
    builder = DirectoryBuilder(directory)
    builder.remove_consumer(BOB["id"])
    assert builder.finish().generation is not directory.generation

"""The messages of hybrid mode as tables: what is taken, what is refused, who gets on with whom."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.hybrid.protocol import (
    NO_CONFIG_HASH,
    PROTOCOL,
    Announced,
    Applied,
    Failed,
    Health,
    Hello,
    Leave,
    Load,
    Loaded,
    Loading,
    Mark,
    Noted,
    NothingNewer,
    ProtocolError,
    Refused,
    Report,
    Seen,
    SeenAnswer,
    UnhealthyAddress,
    Welcome,
    config_hash,
    decode_answered,
    decode_asked,
    encode,
    incompatibility,
)
from gateway.store.source import Batch, VersionMark

EPOCH = UUID(int=7)
AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
MARK = VersionMark(EPOCH, 42, AT)
APPLIED = Applied(version=42, committed_at=AT)
DOWN = UnhealthyAddress(upstream="orders", target="orders-1.internal", address="10.0.0.1:80")
HEALTH = Health(checked=3, unhealthy=1, addresses=[DOWN])


def hello(**changed: object) -> dict[str, object]:
    message = Hello(
        protocol=PROTOCOL,
        node_id=EPOCH,
        name="edge",
        software_version="0.1.0",
        labels={"region": "eu"},
        applied=None,
    )
    return json.loads(encode(message)) | changed


# -- there and back


@pytest.mark.parametrize(
    "message",
    [
        Hello.model_validate(hello()),
        Hello.model_validate(hello(applied=APPLIED.model_dump())),
        Seen(),
        Load(since=None),
        Load(since=Mark.of(MARK)),
        Report(number=3, applied=APPLIED),
        Report(number=0, applied=None),
        Report(number=4, applied=None, health=HEALTH),
        Leave(number=4),
    ],
)
def test_what_a_data_plane_says_arrives_as_it_was(message) -> None:
    assert decode_asked(encode(message)) == message


@pytest.mark.parametrize(
    "message",
    [
        Welcome(protocol=PROTOCOL, node_id=EPOCH, name="cp", software_version="0.1.0"),
        Refused(reason="no"),
        SeenAnswer(mark=Mark.of(MARK)),
        Loading(
            kind="full",
            mark=Mark.of(MARK),
            oldest_committed_at=AT,
            read_at=AT,
            reason="everything was asked for",
        ),
        Loaded(),
        NothingNewer(),
        Failed(error="gone"),
        Noted(number=3, error=None),
        Announced(version=43),
    ],
)
def test_what_a_control_plane_says_arrives_as_it_was(message) -> None:
    assert decode_answered(encode(message)) == message


def test_a_mark_keeps_its_microseconds_whatever_the_time_zone() -> None:
    elsewhere = AT.astimezone(timezone(timedelta(hours=5)))
    decoded = decode_asked(encode(Load(since=Mark.of(VersionMark(EPOCH, 42, elsewhere)))))
    assert isinstance(decoded, Load)
    assert decoded.since is not None
    assert decoded.since.mark() == MARK


def test_batches_come_in_the_wire_form() -> None:
    text = b'{"type":"batch","table":"services","rows":[],"deleted":["%s"]}'
    decoded = decode_answered(text % str(EPOCH).encode())
    assert decoded == Batch("services", [], [EPOCH])


def test_keys_of_a_later_release_are_ignored() -> None:
    assert decode_asked(json.dumps(hello(colour="green"))) == Hello.model_validate(hello())


def test_a_data_plane_of_the_release_before_tells_nothing_of_health() -> None:
    report = decode_asked(b'{"type":"report","number":1,"applied":null}')
    assert isinstance(report, Report)
    assert report.health is None


# -- what is refused


def report_of(**facts: Any) -> bytes:
    """A report with these facts of health."""
    health = HEALTH.model_dump() | facts
    return json.dumps({"type": "report", "number": 1, "applied": None, "health": health}).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[]",
        b"null",
        b"{}",
        b'{"type":"unheard-of"}',
        b'{"type":"welcome"}',
        b'{"type":"load"}',
        b'{"type":"load","since":{"epoch":"x","version":1,"committed_at":"2026-01-01T00:00:00Z"}}',
        json.dumps(hello(name="")).encode(),
        json.dumps(hello(name="x" * 256)).encode(),
        json.dumps(hello(name="line\nfeed")).encode(),
        json.dumps(hello(name="nul\x00")).encode(),
        json.dumps(hello(name="\ud800")).encode(),
        json.dumps(hello(node_id="me")).encode(),
        json.dumps(hello(labels={str(n): "x" for n in range(101)})).encode(),
        json.dumps(hello(labels={"k": "x" * 256})).encode(),
        json.dumps(hello(applied={"version": -1, "committed_at": AT.isoformat()})).encode(),
        json.dumps(hello(applied={"version": 2**63, "committed_at": AT.isoformat()})).encode(),
        json.dumps(hello(applied={"version": 1, "committed_at": "2026-01-01T00:00:00"})).encode(),
        report_of(checked=-1),
        report_of(addresses=[DOWN.model_dump()] * 21),
        report_of(addresses=[DOWN.model_dump() | {"upstream": "x" * 256}]),
        report_of(addresses=[DOWN.model_dump() | {"target": "nul\x00"}]),
        b"[" * 10_000,
    ],
)
def test_what_is_not_in_the_protocol_is_refused(content: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_asked(content)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[]",
        b'{"type":"unheard-of"}',
        b'{"type":"batch"}',
        b'{"type":"batch","table":"services","rows":7,"deleted":[]}',
        b'{"type":"seen","mark":null}',
        b'{"type":"loading","kind":"some"}',
    ],
)
def test_answers_that_are_not_in_the_protocol_are_refused(content: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_answered(content)


@given(st.binary(max_size=200))
def test_no_bytes_at_all_do_worse_than_be_refused(content: bytes) -> None:
    for decode in (decode_asked, decode_answered):
        with pytest.raises(ProtocolError):
            decode(content)


def test_what_is_refused_is_not_quoted() -> None:
    with pytest.raises(ProtocolError) as refused:
        decode_asked(json.dumps(hello(name="secret\x00")))
    assert "secret" not in str(refused.value)
    assert "name" in str(refused.value)


# -- who gets on with whom


@pytest.mark.parametrize(
    ("control_plane", "data_plane", "gets_on"),
    [
        ("0.1.0", "0.1.0", True),
        ("0.1.9", "0.1.0", True),
        ("0.1.0", "0.1.9", True),
        ("0.2.0", "0.1.0", True),
        ("0.1.0", "0.2.0", False),
        ("1.0.0", "0.9.0", False),
        ("0.9.0", "1.0.0", False),
        ("1.12.0", "1.2.0", True),
        ("1.2.0", "1.12.0", False),
        ("1.2.0.dev3", "1.2", True),
        ("1.2rc1", "1.2.0", True),
        ("unknown", "1.2.0", False),
        ("1.2.0", "", False),
    ],
)
def test_releases_that_get_on(control_plane: str, data_plane: str, gets_on: bool) -> None:
    reason = incompatibility(control_plane, data_plane)
    assert (reason is None) is gets_on
    if reason is not None:
        assert data_plane in reason


# -- hashes


def test_the_hash_is_the_same_only_for_the_same_version_of_the_same_history() -> None:
    same = config_hash(EPOCH, APPLIED)
    assert len(same) == 32
    assert int(same, 16) > 0
    elsewhere = AT.astimezone(timezone(timedelta(hours=5)))
    assert config_hash(EPOCH, Applied(version=42, committed_at=elsewhere)) == same
    others = {
        config_hash(EPOCH, Applied(version=43, committed_at=AT)),
        config_hash(EPOCH, Applied(version=42, committed_at=AT + timedelta(microseconds=1))),
        config_hash(UUID(int=8), APPLIED),
        config_hash(EPOCH, None),
        same,
    }
    assert len(others) == 5
    assert config_hash(EPOCH, None) == NO_CONFIG_HASH

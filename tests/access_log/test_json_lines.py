"""The access log as JSON: Kong's record in a compact form, and no secrets in it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access_log import Record, TlsFacts, Try
from gateway.access_log.json_lines import JsonLines
from gateway.access_log.record import unread_request
from gateway.settings import Compat

from .records import HEAD, ID, ROUTE_ROW, SERVICE_ROW, record


def told(of: Record, compat: Compat = Compat.NONE) -> dict[str, Any]:
    """What the line of a record says."""
    line = JsonLines(compat).line(of)
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    assert line.isascii()
    found: dict[str, Any] = json.loads(line)
    return found


def test_a_whole_record():
    tries = (
        Try(1_700_000_000.25, "192.0.2.7", 8080, 502),
        Try(1_700_000_000.251, "192.0.2.8", 8080, 0),
    )
    tls = TlsFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", b"shop.test")
    assert told(record(tries=tries, tls=tls)) == {
        "started_at": 1_700_000_000_250,
        "client_ip": "192.0.2.1",
        "request": {
            "id": ID.decode(),
            "method": "GET",
            "uri": "/a?b=c",
            "url": "http://shop.test:8000/a?b=c",
            "size": 60,
            "headers": {"host": "shop.test", "user-agent": "curl/8"},
            "tls": {
                "version": "TLSv1.3",
                "cipher": "TLS_AES_256_GCM_SHA384",
                "sni": "shop.test",
            },
        },
        "response": {
            "status": 200,
            "size": len(HEAD) + 2,
            "headers": {"content-type": "text/plain", "content-length": "2"},
        },
        "latencies": {"request": 12, "gateway": 0, "proxy": 10, "receive": 1},
        "tries": [
            {
                "balancer_start": 1_700_000_000_250,
                "ip": "192.0.2.7",
                "port": 8080,
                "state": "failed",
                "code": 502,
            },
            {"balancer_start": 1_700_000_000_251, "ip": "192.0.2.8", "port": 8080},
        ],
        "upstream_uri": "/v1/a?b=c",
        "upstream_status": "502, 200",
        "route": {"id": str(ROUTE_ROW["id"]), "name": "all"},
        "service": {"id": str(SERVICE_ROW["id"]), "name": "orders"},
        "source": "upstream",
    }


def test_what_is_not_known_is_left_out():
    unread = told(unread_request(b"192.0.2.1", ID, 400, (HEAD, b"bad"), b"GET / HTTP/1.1\r\nA :b"))
    assert unread["request"] == {
        "id": ID.decode(),
        "method": "GET",
        "uri": "/",
        "size": 20,
        "headers": {},
    }
    assert unread["latencies"]["proxy"] == -1
    assert unread["upstream_status"] == ""
    assert unread["source"] == "gateway"
    assert not {"tries", "route", "service"} & unread.keys()


def test_kongs_name_for_who_answered():
    answered = told(record(from_upstream=False), Compat.KONG)
    assert answered["source"] == "kong"
    assert "kong" in answered["latencies"]


@pytest.mark.parametrize("name", ["Authorization", "proxy-authorization", "COOKIE"])
def test_of_a_secret_it_tells_only_that_it_was_there(name: str):
    lines = f"\r\n{name}: hunter2\r\n{name}: hunter2".encode()
    assert told(record(request_lines=lines))["request"]["headers"] == {name.lower(): "REDACTED"}


def test_a_cookie_that_is_set_is_a_secret():
    head = b"HTTP/1.1 200 OK\r\nSet-Cookie: hunter2\r\nCache-Control: no-store\r\n\r\n"
    shown = told(record(response_head=head))["response"]["headers"]
    assert shown == {"set-cookie": "REDACTED", "cache-control": "no-store"}


def test_headers_that_may_hold_a_key_are_not_told():
    lines = b"\r\nApikey: hunter2\r\nX-Api-Key: hunter2\r\nX-Host: hunter2\r\nHost: a"
    assert told(record(request_lines=lines))["request"]["headers"] == {"host": "a"}


def test_a_repeated_header_is_told_as_one_list():
    lines = b"\r\nX-Forwarded-For: 192.0.2.1\r\nx-forwarded-for: 192.0.2.2"
    shown = told(record(request_lines=lines))["request"]["headers"]
    assert shown == {"x-forwarded-for": "192.0.2.1, 192.0.2.2"}


@given(st.binary(max_size=80), st.binary(max_size=60).map(lambda v: v.replace(b"\r", b"")))
def test_whatever_bytes_a_client_sends_it_stays_json(target: bytes, agent: bytes):
    shown = told(record(target=target, request_lines=b"\r\nUser-Agent: " + agent))["request"]
    assert shown["uri"] == target.decode("utf-8", "backslashreplace")

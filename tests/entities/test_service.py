"""Services: defaults, the `url` shorthand, and what the protocol allows."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.entities.service import SERVICES

from .validating import accepted, refused


def test_a_host_is_enough():
    service = accepted(SERVICES, {"host": "orders.internal"})
    del service["id"], service["created_at"], service["updated_at"]
    assert service == {
        "name": None,
        "protocol": "http",
        "host": "orders.internal",
        "port": 80,
        "path": None,
        "retries": 5,
        "connect_timeout": 60000,
        "write_timeout": 60000,
        "read_timeout": 60000,
        "client_certificate": None,
        "tls_verify": None,
        "tls_verify_depth": None,
        "ca_certificates": None,
        "enabled": True,
        "tags": None,
    }


@pytest.mark.parametrize(
    ("url", "protocol", "host", "port", "path"),
    [
        ("http://a", "http", "a", 80, None),
        ("https://a/", "https", "a", 443, "/"),
        ("http://a:9000/v2?q=1#f", "http", "a", 9000, "/v2"),
        ("http://user:secret@a:81/x", "http", "a", 81, "/x"),
        ("//a:443", "https", "a", 443, None),
        ("//a", "http", "a", 80, None),
        ("http://[::1]:8080/x", "http", "::1", 8080, "/x"),
        ("tcp://a:5432", "tcp", "a", 5432, None),
        ("grpc://a", "grpc", "a", 80, None),
    ],
)
def test_a_url_stands_for_its_parts(url: str, protocol: str, host: str, port: int, path: str):
    overridden = {"protocol": "https", "host": "z", "port": 1, "path": "/z"}
    service = accepted(SERVICES, overridden | {"url": url})
    parts = (service["protocol"], service["host"], service["port"], service["path"])
    assert parts == (protocol, host, port, path)


@pytest.mark.parametrize(
    ("given", "fields"),
    [
        ({}, {"host": "required field missing"}),
        ({"host": None}, {"host": "required field missing"}),
        ({"host": "a", "protocol": None}, {"protocol": "required field missing"}),
        ({"host": "a", "nope": 1}, {"nope": "unknown field"}),
        ({"host": "a", "nope": None}, {"nope": "unknown field"}),
        ({"host": "a", "config.x": 1}, {"config.x": "unknown field"}),
        ({"host": "a", "@entity": None}, {"@entity": ["unknown field"]}),
        ({"url": 5}, {"url": "expected a string"}),
        ({"url": ""}, {"url": "length must be at least 1"}),
        (
            {"url": "invalid url"},
            {"host": "required field missing", "path": "should start with: /"},
        ),
        ({"url": "http://a:x"}, {"port": "expected an integer"}),
        ({"url": "http://a:70000"}, {"port": "value should be between 0 and 65535"}),
        (
            {"host": "a", "protocol": "tcp", "path": "/x"},
            {
                "@entity": ["failed conditional validation given value of field 'protocol'"],
                "path": "value must be null",
            },
        ),
        (
            {"host": "a", "tls_verify": False, "ca_certificates": []},
            {
                "@entity": ["failed conditional validation given value of field 'protocol'"] * 2,
                "tls_verify": "value must be null",
                "ca_certificates": "value must be null",
            },
        ),
        (
            {"host": "a", "client_certificate": {}},
            {"client_certificate": {"id": "missing primary key"}},
        ),
        (
            {"host": "a", "client_certificate": {"id": "x"}},
            {"client_certificate": {"id": "expected a valid UUID"}},
        ),
        ({"host": "a", "client_certificate": "x"}, {"client_certificate": "expected a record"}),
        (
            {"host": "a", "protocol": "tcp", "path": "x", "retries": 40000},
            {"path": "should start with: /", "retries": "value should be between 0 and 32767"},
        ),
    ],
)
def test_bad_services_are_refused(given: dict[str, Any], fields: dict[str, Any]):
    assert refused(SERVICES, given) == fields


def test_an_explicit_null_of_an_optional_field_stays_null():
    assert accepted(SERVICES, {"host": "a", "retries": None})["retries"] is None


def test_the_server_decides_when_something_was_updated():
    assert accepted(SERVICES, {"host": "a", "updated_at": "whenever"})["updated_at"] > 0


def test_a_null_id_or_creation_time_counts_as_absent():
    service = accepted(SERVICES, {"host": "a", "id": None, "created_at": None})
    assert service["id"]
    assert service["created_at"] > 0

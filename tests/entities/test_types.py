"""Field types refuse bad values with the exact texts of entities.md, section 2."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from pydantic import ConfigDict, TypeAdapter, ValidationError

from gateway.entities import types
from gateway.entities.errors import error_text

STRICT = ConfigDict(strict=True, allow_inf_nan=False)
ID = "0B2DF6E2-3d4e-4e3d-0f39-0a1d9f9f9f9f"


@pytest.mark.parametrize(
    ("field_type", "value", "kept"),
    [
        (types.Text, "é", "é"),
        (types.Integer, 80.0, 80),
        (types.Integer, -(2**63), -(2**63)),
        (types.Number, 1.0, 1),
        (types.Number, 0.5, 0.5),
        (types.Id, ID, UUID(ID)),
        (types.UuidText, ID, ID.lower()),
        (types.Timestamp, 1718000000, datetime.fromtimestamp(1718000000, UTC)),
        (types.PreciseTimestamp, 1718000000.25, datetime.fromtimestamp(1718000000.25, UTC)),
        (types.Utf8Name, "a.b-c_d~1é", "a.b-c_d~1é"),
        (types.Tags, ["b", "a b", "b"], ["b", "a b"]),
        (types.Path, "/a%20b/(x);y=1", "/a%20b/(x);y=1"),
        (types.WildcardHost, "*.example.com", "*.example.com"),
        (types.WildcardHost, "example.*", "example.*"),
        (types.ServerName, "example.com", "example.com"),
        (types.HostText, "::1", "::1"),
        (types.CookieName, "a!b", "a!b"),
    ],
)
def test_good_values_are_kept(field_type: Any, value: Any, kept: Any):
    result = TypeAdapter(field_type, config=STRICT).validate_python(value)
    assert result == kept
    assert type(result) is type(kept)


BAD_TAG = (
    "invalid tag 'a,b': expected printable ascii (except `,` and `/`) or valid utf-8 sequences"
)


@pytest.mark.parametrize(
    ("field_type", "value", "text"),
    [
        (types.Text, 1, "expected a string"),
        (types.Text, "", "length must be at least 1"),
        (types.Text, "a\x00b", "must not contain the NUL character"),
        (types.Text, "a\ud800", "invalid utf-8 character sequence detected at position 2"),
        (types.Integer, "80", "expected an integer"),
        (types.Integer, 80.5, "expected an integer"),
        (types.Integer, True, "expected an integer"),
        (types.Integer, float("inf"), "expected an integer"),
        (
            types.Integer,
            2**63,
            "value should be between -9223372036854775808 and 9223372036854775807",
        ),
        (types.Number, "1", "expected a number"),
        (types.Number, True, "expected a number"),
        (types.Number, float("inf"), "expected a number"),
        (types.Number, 10**400, "expected a number"),
        (types.Id, "x", "expected a valid UUID"),
        (types.Id, "{0b2df6e2-3d4e-4e3d-8f39-0a1d9f9f9f9f}", "expected a valid UUID"),
        (types.Id, 1, "expected a string"),
        (types.Timestamp, 0, "expected a valid timestamp"),
        (types.Timestamp, 10**30, "expected a valid timestamp"),
        (types.Timestamp, 1.5, "expected an integer"),
        (types.Timestamp, "x", "expected a number"),
        (types.PreciseTimestamp, float("inf"), "expected a valid timestamp"),
        (
            types.Utf8Name,
            "a b",
            "invalid value 'a b': the only accepted ascii characters are alphanumerics "
            "or ., -, _, and ~",
        ),
        (types.Tag, "a,b", BAD_TAG),
        (types.Tags, "a", "expected a set"),
        (types.HttpMethod, "get", "invalid value: get"),
        (types.PortNumber, 65536, "value should be between 0 and 65535"),
        (
            types.Protocol,
            "ftp",
            "expected one of: grpc, grpcs, http, https, tcp, tls, tls_passthrough, udp",
        ),
        (
            types.HeaderName,
            "a b",
            "bad header name 'a b', allowed characters are A-Z, a-z, 0-9, '_', and '-'",
        ),
        (
            types.CookieName,
            "a b",
            "contains one or more invalid characters. ASCII control characters (0-31;127), "
            'space, tab and the characters ()<>@,;:\\"/?={}[] are not allowed.',
        ),
        (types.Path, "a", "should start with: /"),
        (types.Path, "/a//b", "must not have empty segments"),
        (
            types.Path,
            "/a b",
            "invalid path: '/a b' (characters outside of the reserved list of RFC 3986 found)",
        ),
        (types.Path, "/a%zzb", "invalid url-encoded value: '%zz'"),
        (types.Path, "/a%", "invalid url-encoded value: '%'"),
        (types.HostText, "a:80", "must not have a port"),
        (types.HostText, "a:99999", "must not have a port"),
        (types.HostText, "a b", "invalid value: a b"),
        (types.HostWithOptionalPort, "a b", "invalid hostname: a b"),
        (types.HostWithOptionalPort, "1.2.3.999:80", "invalid ipv4 address: 1.2.3.999:80"),
        (types.HostWithOptionalPort, "a:99999", "invalid port number"),
        (types.ServerName, "1.2.3.4", "must not be an IP"),
        (types.ServerName, "a:80", "must not have a port"),
        (types.ServerName, "*.a", "invalid value: *.a"),
        (types.WildcardHost, "a.*.b", "wildcard must be leftmost or rightmost character"),
        (types.WildcardHost, "*.a.*", "only one wildcard must be specified"),
        (types.WildcardHost, "*.a b", "invalid value: *.a b"),
        (types.AddressOrNetwork, "x", "invalid ip or cidr range: 'x'"),
        (types.Headers, [], "expected a map"),
        (types.Headers, {"a": "x"}, "expected an array"),
        (types.Headers, {"a": [""]}, "length must be at least 1"),
        (
            types.HeaderValues,
            {"Host": ["x"]},
            "cannot contain 'host' header, which must be specified in the 'hosts' attribute",
        ),
    ],
)
def test_bad_values_are_refused_in_kongs_words(field_type: Any, value: Any, text: str):
    with pytest.raises(ValidationError) as error:
        TypeAdapter(field_type, config=STRICT).validate_python(value)
    assert [error_text(found) for found in error.value.errors()] == [text]

"""Who may do what, as tables."""

from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from gateway.admin.access.rules import exposed_hosts, needs_login, permits, presented_token
from gateway.admin.errors import ApiError
from gateway.settings import NodeSettings
from gateway.store.admin_tokens import Role

EVERYWHERE = "0.0.0.0"


@pytest.mark.parametrize(
    ("settings", "tokens_exist", "expected"),
    [
        ({}, False, False),
        ({}, True, True),
        ({"admin_host": EVERYWHERE}, False, True),
        ({"admin_host": EVERYWHERE}, True, True),
        ({"admin_tls_port": 8444, "admin_tls_host": EVERYWHERE}, False, True),
        ({"admin_open": True}, False, False),
        ({"admin_open": True}, True, False),
        ({"admin_open": True, "admin_host": EVERYWHERE}, True, False),
    ],
)
def test_when_a_login_is_needed(settings: dict[str, object], *, tokens_exist: bool, expected: bool):
    assert needs_login(NodeSettings(**settings), tokens_exist=tokens_exist) is expected


@pytest.mark.parametrize(
    ("settings", "exposed"),
    [
        ({"admin_host": "127.0.0.1"}, []),
        ({"admin_host": "127.8.8.8"}, []),
        ({"admin_host": "::1"}, []),
        ({"admin_host": "LocalHost"}, []),
        ({"admin_host": EVERYWHERE}, [EVERYWHERE]),
        ({"admin_host": "::"}, ["::"]),
        ({"admin_host": "10.0.0.1"}, ["10.0.0.1"]),
        ({"admin_host": "gateway.test"}, ["gateway.test"]),  # may be anything
        ({"admin_tls_host": EVERYWHERE}, []),  # there is no such listener
        (
            {"admin_tls_port": 8444, "admin_tls_host": "::", "admin_host": "10.0.0.1"},
            ["10.0.0.1", "::"],
        ),
        ({"role": "data-plane", "admin_host": EVERYWHERE}, []),
    ],
)
def test_which_listeners_others_may_reach(settings: dict[str, object], exposed: list[str]):
    assert exposed_hosts(NodeSettings(**settings)) == exposed


@pytest.mark.parametrize(
    ("method", "path", "query", "read_only"),
    [
        ("GET", "/", b"", True),
        ("HEAD", "/services", b"", True),
        ("OPTIONS", "/services", b"", True),
        ("GET", "/audit", b"", True),
        ("POST", "/services", b"", False),
        ("PUT", "/services/a", b"", False),
        ("GET", "/upstreams/a/health", b"", True),
        ("PUT", "/upstreams/a/targets/b/unhealthy", b"", False),
        ("POST", "/upstreams/a/targets/b/healthy", b"", False),
        ("PATCH", "/services/a", b"", False),
        ("DELETE", "/services/a", b"", False),
        ("POST", "/schemas/services/validate", b"", True),
        ("POST", "/schemas/plugins/validate", b"", True),
        ("PUT", "/schemas/services/validate", b"", False),
        ("POST", "/schemas/services", b"", False),
        ("POST", "/services/validate", b"", False),
        ("POST", "/config", b"dry_run=1", True),
        ("POST", "/config", b"a=b&dry_run=true", True),
        ("POST", "/config", b"", False),
        ("POST", "/config", b"dry_run=0", False),
        ("POST", "/config", b"dry_run=0&dry_run=1", False),  # the first one counts
        ("POST", "/config", b"dry_run=", False),
        ("POST", "/services", b"dry_run=1", False),
        ("TRACE", "/", b"", False),
    ],
)
def test_what_a_role_may_ask(method: str, path: str, query: bytes, *, read_only: bool):
    assert permits(Role.READ_ONLY, method, path, query) is read_only
    assert permits(Role.ADMIN, method, path, query)


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ({}, None),
        ({"Kong-Admin-Token": "a"}, "a"),
        ({"kong-admin-token": " a "}, "a"),
        ({"Authorization": "Bearer a"}, "a"),
        ({"Authorization": "bearer a"}, "a"),
        ({"Authorization": "Basic YTpi"}, None),  # of somebody else on the way
        ({"Authorization": "Bearera"}, None),
        ({"Authorization": "Bearer"}, None),
        ({"Authorization": "Bearer  "}, None),
        ({"Kong-Admin-Token": ""}, None),
        ({"Kong-Admin-Token": "a", "Authorization": "Bearer a"}, "a"),
        ({"Kong-Admin-Token": "a", "Authorization": "Basic YTpi"}, "a"),
    ],
)
def test_where_a_token_is_found(headers: dict[str, str], token: str | None):
    assert presented_token(Headers(headers)) == token


@pytest.mark.parametrize(
    "raw",
    [
        [(b"kong-admin-token", b"a"), (b"authorization", b"Bearer b")],
        [(b"kong-admin-token", b"a"), (b"kong-admin-token", b"b")],
        [(b"authorization", b"Bearer a"), (b"authorization", b"Bearer b")],
    ],
)
def test_two_tokens_that_differ_are_refused(raw: list[tuple[bytes, bytes]]):
    with pytest.raises(ApiError) as refused:
        presented_token(Headers(raw=raw))
    assert refused.value.status == 400
    assert "send one" in refused.value.body["message"]

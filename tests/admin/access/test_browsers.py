"""What web pages may do where nobody has to log in, and who may read answers."""

from __future__ import annotations

import socket

import pytest
from starlette.datastructures import Headers

from gateway.admin.access.browsers import Browsers
from gateway.admin.errors import ApiError
from gateway.settings import NodeSettings, SettingError

LISTED = "https://console.test, http://Other.test:8080/"


def browsers(admin_origins: str = "", **settings: str) -> Browsers:
    return Browsers(NodeSettings(admin_origins=admin_origins, **settings))


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        (None, "localhost:8001", True),  # no browser
        ("http://localhost:3000", "127.0.0.1:8001", True),
        ("http://LOCALHOST", "127.0.0.1:8001", True),
        ("https://127.0.0.1", "localhost:8001", True),
        ("http://[::1]:3000", "localhost:8001", True),
        ("http://10.0.0.1:8001", "10.0.0.1:8001", True),  # our own page
        ("http://10.0.0.1:8002", "10.0.0.1:8001", False),
        ("https://console.test", "localhost:8001", True),
        ("HTTPS://CONSOLE.TEST", "localhost:8001", True),
        ("http://other.test:8080", "localhost:8001", True),
        ("http://console.test", "localhost:8001", False),
        ("https://console.test.evil.test", "localhost:8001", False),
        ("http://evil.test", "localhost:8001", False),
        ("http://localhost.evil.test", "localhost:8001", False),
        ("http://127.0.0.1.evil.test", "localhost:8001", False),
        ("http://evil.test#localhost", "localhost:8001", False),
        ("null", "localhost:8001", False),
        ("", "", False),
        ("http://", "", False),
        ("http://[", "localhost:8001", False),
    ],
)
def test_a_page_needs_an_origin_of_this_machine_or_a_listed_one(
    origin: str | None, host: str, *, allowed: bool
):
    headers = {"host": host} if origin is None else {"host": host, "origin": origin}
    if allowed:
        browsers(LISTED).check_origin(Headers(headers))
        return
    with pytest.raises(ApiError) as refused:
        browsers(LISTED).check_origin(Headers(headers))
    assert refused.value.status == 403
    assert "--admin-origins (GATEWAY_ADMIN_ORIGINS)" in refused.value.body["message"]


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        (None, True),  # HTTP/1.0
        ("localhost", True),
        ("LOCALHOST:8001", True),
        ("127.0.0.1:8001", True),
        ("[::1]:8001", True),
        ("192.0.2.1", True),
        (socket.gethostname(), True),
        ("gateway.internal", True),  # what it was told to listen on
        ("evil.test", False),
        ("evil.test:8001", False),
        ("127.0.0.1.evil.test", False),
        ("localhost.evil.test", False),
        ("", False),
        ("[", False),
    ],
)
def test_a_name_must_be_ours(host: str | None, *, allowed: bool):
    headers = Headers({} if host is None else {"host": host})
    page = browsers(admin_host="gateway.internal")
    if allowed:
        page.check_host(headers)
        return
    with pytest.raises(ApiError) as refused:
        page.check_host(headers)
    assert refused.value.status == 403
    assert "gateway admin token create" in refused.value.body["message"]


@pytest.mark.parametrize(
    ("admin_origins", "origin", "allowed"),
    [
        ("", None, "*"),
        ("", "http://any.test", "http://any.test"),
        (LISTED, None, "https://console.test"),
        (LISTED, "https://console.test", "https://console.test"),
        (LISTED, "http://other.test:8080", "http://other.test:8080"),
        (LISTED, "http://any.test", "https://console.test"),
    ],
)
def test_who_may_read_an_answer(admin_origins: str, origin: str | None, allowed: str):
    assert browsers(admin_origins).allowed_origin(origin) == allowed


@pytest.mark.parametrize("text", ["console.test", "https://", "https://a/path", "*", "https://a b"])
def test_what_is_no_origin_is_named(text: str):
    with pytest.raises(SettingError, match=r"--admin-origins \(GATEWAY_ADMIN_ORIGINS\): '"):
        browsers(text)

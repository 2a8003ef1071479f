"""The settings `headers` and `headers_upstream`: which names they take, what each stands for."""

from __future__ import annotations

import pytest

from gateway.added_headers import Added, added_to_requests, added_to_responses
from gateway.settings import NodeSettings, SettingError, read_settings

LATENCIES = {
    Added.PROXY_LATENCY,
    Added.UPSTREAM_LATENCY,
    Added.RESPONSE_LATENCY,
    Added.ADMIN_LATENCY,
}


@pytest.mark.parametrize(
    ("text", "added"),
    [
        ("off", set()),
        ("OFF", set()),
        ("", set()),
        ("server_tokens", {Added.SERVER, Added.VIA}),
        ("latency_tokens", LATENCIES),
        ("request_id", {Added.REQUEST_ID}),
        ("X-Gateway-Request-Id", {Added.REQUEST_ID}),
        ("x-kong-request-id", {Added.REQUEST_ID}),
        ("Server,Via", {Added.SERVER, Added.VIA}),
        (" via , upstream_status,", {Added.VIA, Added.UPSTREAM_STATUS}),
        ("X-Kong-Upstream-Status", {Added.UPSTREAM_STATUS}),
        ("X-Kong-Proxy-Latency, X-Gateway-Upstream-Latency", {"proxy_latency", "upstream_latency"}),
        (
            "server_tokens, latency_tokens, x-kong-request-id",
            {Added.SERVER, Added.VIA, Added.REQUEST_ID} | LATENCIES,
        ),
    ],
)
def test_what_responses_get(text: str, added: set[Added]):
    assert added_to_responses(text) == added


@pytest.mark.parametrize(
    ("text", "added"),
    [("off", set()), ("request_id", {Added.REQUEST_ID}), ("X-Kong-Request-Id", {Added.REQUEST_ID})],
)
def test_what_requests_get(text: str, added: set[Added]):
    assert added_to_requests(text) == added


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"headers": "server_tokens,latency"},
            "--headers (GATEWAY_HEADERS): 'latency' is no header",
        ),
        ({"headers": "off,via"}, "--headers (GATEWAY_HEADERS): off stands alone"),
        ({"headers_upstream": "via"}, "--headers-upstream (GATEWAY_HEADERS_UPSTREAM): 'via' is no"),
    ],
)
def test_another_name_is_refused_with_those_there_are(settings: dict[str, str], message: str):
    with pytest.raises(SettingError) as refused:
        read_settings(NodeSettings, **settings)
    assert str(refused.value).startswith(message)
    if "no header" in message:
        assert str(refused.value).endswith("or off")

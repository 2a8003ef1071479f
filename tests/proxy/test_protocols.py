"""Requests that come by another protocol than their route is for (router.md section 8)."""

from __future__ import annotations

import json

import pytest

from tests.snapshot.rows import route, service

from .conftest import StartGateway
from .gateway import one_route
from .peers import Upstream

GRPC_CALL = b"POST /shop.Orders/List HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
GRPC_BODY = b"\0\0\0\0\0"


@pytest.mark.parametrize("protocols", [["grpc"], ["grpcs"], ["grpc", "grpcs"]])
@pytest.mark.parametrize("content_type", ["application/grpc", "application/grpc+proto"])
async def test_grpc_over_http1_is_told_to_use_http2(
    start_gateway: StartGateway, upstream: Upstream, protocols: list[str], content_type: str
):
    gateway = await start_gateway(one_route(upstream, protocols=protocols))
    line = f"Content-Type: {content_type}\r\n\r\n".encode()
    response = await gateway.ask(GRPC_CALL + line + GRPC_BODY, "POST")
    assert response.status == 426
    assert json.loads(response.body)["message"] == "Please use HTTP2 protocol"
    assert response["Upgrade"] == "HTTP/2"
    assert "Upgrade" in response.all("Connection")
    assert upstream.requests == []


@pytest.mark.parametrize("line", [b"", b"Content-Type: application/json\r\n"])
async def test_what_is_no_grpc_is_told_so(
    start_gateway: StartGateway, upstream: Upstream, line: bytes
):
    gateway = await start_gateway(one_route(upstream, protocols=["grpc"]))
    response = await gateway.ask(b"GET / HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n" + line + b"\r\n")
    assert response.status == 415
    assert json.loads(response.body)["message"] == "Non-gRPC request matched gRPC route"
    assert upstream.requests == []
    assert gateway.codes() == {("all", 415, False): 1}


async def test_a_grpc_route_takes_its_requests_from_broader_routes(
    start_gateway: StartGateway, upstream: Upstream
):
    orders = service(port=upstream.port)
    gateway = await start_gateway(
        {
            "services": [orders],
            "routes": [
                route(orders, name="calls", paths=["/shop.Orders"], protocols=["grpc"]),
                route(orders, name="all", paths=["/"]),
            ],
        }
    )
    assert (await gateway.ask(b"GET /shop.Orders/List HTTP/1.1\r\nHost: a\r\n\r\n")).status == 415
    assert (await gateway.ask(b"GET /shop HTTP/1.1\r\nHost: a\r\n\r\n")).status == 200

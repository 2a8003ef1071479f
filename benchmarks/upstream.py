"""The upstreams that every peer proxies to: a small nginx with a few answers, and an echo."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.processes import Pinned, free_port

SMALL_BODY = "x" * 99 + "\\n"
PORTS = 10
"""It listens on so many, each of which can be a target."""
FILE_SIZES = {"10k": 10_240, "1m": 1_048_576}

_CONFIG = """\
daemon off;
worker_processes 1;
pid {home}/nginx.pid;
error_log {home}/error.log warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000000;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    {http}
}}
"""
_SERVER = """
    server {{
        {listens}
        root {home}/files;
        location / {{ return 200 "{body}"; }}
        location = /own {{ add_header X-Own $request_id; return 200 "{body}"; }}
        location = /10k {{ }}
        location = /1m {{ }}
        location = /post {{
            client_body_buffer_size 256k;
            mirror /read;  # for this a body is read whole before it is answered
            error_page 405 =200 @post;  # nginx posts to no file
        }}
        location = /read {{ internal; return 204; }}
        location @post {{ return 200 "{body}"; }}
    }}
"""


def start_upstream(core: int, home: Path) -> tuple[Pinned, list[int]]:
    """Start it; return it and its ports."""
    files = home / "files"
    files.mkdir(parents=True)
    for name, size in FILE_SIZES.items():
        (files / name).write_bytes(b"x" * size)
    (files / "post").touch()
    ports = [free_port() for _ in range(PORTS)]
    listens = " ".join(f"listen 127.0.0.1:{port} backlog=4096;" for port in ports)
    http = _SERVER.format(listens=listens, home=home, body=SMALL_BODY)
    server = start_nginx("upstream", core, home, http)
    server.wait_for_port(ports[0])
    return server, ports


def start_echo(core: int, home: Path) -> tuple[Pinned, int]:
    """Start what echoes WebSocket messages; return it and its port."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.websocket", "echo", str(port)]
    server = Pinned("echo", core, command, home / "echo.log")
    server.wait_for_port(port)
    return server, port


def start_nginx(name: str, core: int, home: Path, http: str) -> Pinned:
    """Start an nginx of one worker whose files are all below `home`."""
    home.mkdir(parents=True, exist_ok=True)
    config = home / "nginx.conf"
    config.write_text(_CONFIG.format(home=home, http=http))
    command = ["nginx", "-e", f"{home}/error.log", "-p", str(home), "-c", str(config)]
    return Pinned(name, core, command, home / "output.log")

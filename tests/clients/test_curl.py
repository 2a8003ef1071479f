"""The commands of Kong's tutorials, as people paste them, with the real curl.

Each story is typed line by line into one terminal. `$name` stands for the id in the answer to the
line that has kept it. The addresses, files and names are those that the tutorials use.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
from asyncio.subprocess import DEVNULL, PIPE
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.proxy.certificates import Authority, new_rsa_key

CURL = shutil.which("curl")

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.skipif(CURL is None and "CI" not in os.environ, reason="curl is not installed"),
]

DEADLINE_S = 30
ANY = object()
"""A value of which only its being there counts."""


@dataclass(frozen=True)
class Line:
    """One command; what its answer must have; the name by which later lines call its id."""

    command: str
    status: int
    pieces: dict[str, Any] | None = None
    keep: str | None = None


GETTING_STARTED_2_8 = [
    Line(
        "curl -i -X POST --url http://localhost:8001/services/"
        " --data 'name=example-service' --data 'url=http://mockbin.org'",
        201,
        {"name": "example-service", "protocol": "http", "host": "mockbin.org", "port": 80},
    ),
    Line(
        "curl -i -X POST --url http://localhost:8001/services/example-service/routes"
        " --data 'hosts[]=example.com'",
        201,
        {"hosts": ["example.com"], "paths": None, "protocols": ["http", "https"]},
    ),
    Line(
        "curl -i -X POST --url http://localhost:8001/services/example-service/plugins/"
        " --data 'name=greeting' --data 'config.text=hello'",
        201,
        {"name": "greeting", "enabled": True},
    ),
    Line(
        "curl -i -X POST --url http://localhost:8001/consumers/ --data 'username=Jason'",
        201,
        {"username": "Jason", "custom_id": None},
    ),
    Line(
        "curl -i -X POST --url http://localhost:8001/consumers/Jason/key-auth/"
        " --data 'key=ENTER_KEY_HERE'",
        201,
        {"key": "ENTER_KEY_HERE", "ttl": None},
    ),
    Line("curl -i http://localhost:8001/", 200, {"version": ANY, "plugins": ANY}),
    Line("curl -i http://localhost:8001/status", 200, {"database": {"reachable": True}}),
    Line("curl -s http://localhost:8001/plugins/enabled", 200, {"enabled_plugins": ANY}),
]

GETTING_STARTED_3 = [
    Line(
        "curl -i -s -X POST http://localhost:8001/services"
        " --data name=example_service --data url='https://httpbin.konghq.com'",
        201,
        {"protocol": "https", "port": 443, "path": None},
    ),
    Line("curl -X GET http://localhost:8001/services/example_service", 200, {"retries": 5}),
    Line(
        "curl --request PATCH --url localhost:8001/services/example_service --data retries=6", 200
    ),
    Line(
        "curl -i -X POST http://localhost:8001/services/example_service/routes"
        " --data 'paths[]=/mock' --data name=example_route",
        201,
        {"paths": ["/mock"], "strip_path": True},
    ),
    Line(
        "curl --request PATCH --url localhost:8001/services/example_service/routes/example_route"
        ' --data tags="tutorial"',
        200,
        {"tags": ["tutorial"], "paths": ["/mock"]},
    ),
    Line("curl -X GET http://localhost:8001/services/example_service/routes/example_route", 200),
    Line("curl http://localhost:8001/routes/example_route/service", 200, {"retries": 6}),
    Line("curl http://localhost:8001/routes?tags=tutorial", 200, {"data": [ANY], "next": None}),
    Line("curl http://localhost:8001/tags/tutorial", 200, {"data": [ANY]}),
    Line(
        "curl -X POST http://localhost:8001/services/example_service/plugins"
        " -d name=greeting -d config.text=hi -d config.minute=5 -d config.languages=de",
        201,
        {"config": ANY},
        keep="plugin",
    ),
    Line(
        "curl -X PATCH http://localhost:8001/plugins/$plugin"
        " -d config.style.emphasis=2 -d 'config.languages[]=en' -d 'config.languages[]=fr'",
        200,
        {
            "config": {
                "text": "hi",
                "languages": ["en", "fr"],
                "minute": 5,
                "hidden": False,
                "headers": None,
                "style": {"tone": "plain", "emphasis": 2},
            }
        },
    ),
    Line("curl -X PATCH http://localhost:8001/plugins/$plugin -d enabled=false", 200),
    Line("curl http://localhost:8001/plugins/$plugin", 200, {"enabled": False}),
    Line("curl -X DELETE http://localhost:8001/plugins/$plugin", 204),
    Line("curl -X DELETE http://localhost:8001/services/example_service", 400, {"code": 4}),
    Line("curl -X DELETE http://localhost:8001/routes/example_route", 204),
    Line("curl -X DELETE http://localhost:8001/services/example_service", 204),
    Line("curl http://localhost:8001/services/example_service", 404, {"message": "Not found"}),
]

LOAD_BALANCING = [
    Line(
        "curl -X POST http://localhost:8001/upstreams --data name=example_upstream",
        201,
        {"slots": 10_000, "algorithm": "round-robin"},
    ),
    Line(
        "curl -X POST http://localhost:8001/upstreams/example_upstream/targets"
        " --data target='httpbun.com:80'",
        201,
        {"target": "httpbun.com:80", "weight": 100},
        keep="target",
    ),
    Line(
        "curl -X POST http://localhost:8001/upstreams/example_upstream/targets"
        ' --data "target=192.168.34.15" --data "weight=50"',
        201,
        {"target": "192.168.34.15:8000", "weight": 50},
    ),
    Line(  # 2.x: 200 with the row; since 3.0 a conflict
        "curl -X POST http://localhost:8001/upstreams/example_upstream/targets"
        " --data target='httpbun.com:80'",
        409,
        {"code": 5},
    ),
    Line(
        "curl -X PATCH http://localhost:8001/upstreams/example_upstream/targets/httpbun.com:80"
        " --data weight=0",
        200,
        {"weight": 0},
    ),
    Line(
        "curl http://localhost:8001/upstreams/example_upstream/targets/", 200, {"data": [ANY] * 2}
    ),
    Line("curl http://localhost:8001/upstreams/example_upstream/targets/all/", 200),
    Line("curl -X DELETE http://localhost:8001/upstreams/example_upstream/targets/$target", 204),
    Line("curl -X DELETE http://localhost:8001/upstreams/example_upstream/targets/$target", 404),
    Line(
        "curl -i -X POST http://localhost:8001/services/"
        ' --data "name=address-service" --data "host=address.v1.service" --data "path=/address"',
        201,
        {"host": "address.v1.service", "port": 80},
    ),
    Line(
        "curl -i -X PATCH http://localhost:8001/services/address-service"
        ' --data "host=example_upstream"',
        200,
        {"host": "example_upstream", "path": "/address"},
    ),
    Line(
        "curl -i -X PATCH http://localhost:8001/upstreams/example_upstream"
        " -d healthchecks.active.healthy.interval=5 -d healthchecks.active.http_path=/ping"
        " -d 'healthchecks.passive.unhealthy.http_statuses[]=500'"
        " -d 'healthchecks.passive.unhealthy.http_statuses[]=503' -d healthchecks.threshold=12.5",
        200,
        {"healthchecks": ANY},
    ),
    Line(
        "curl -i -X GET http://localhost:8001/upstreams/example_upstream/health",
        200,
        {"data": [{"target": "192.168.34.15:8000", "health": ANY, "data": ANY}], "next": None},
    ),
    Line(
        "curl http://localhost:8001/upstreams/example_upstream/health?balancer_health=1",
        200,
        {"data": {"health": ANY, "balancer_health": ANY, "details": ANY}},
    ),
    Line(  # since 3.0; before, it was a POST
        "curl -i -X PUT http://localhost:8001/upstreams/example_upstream"
        "/targets/192.168.34.15:8000/unhealthy",
        204,
    ),
    Line(
        "curl -i -X POST http://localhost:8001/upstreams/example_upstream"
        "/targets/192.168.34.15:8000/healthy",
        204,
    ),
    Line(
        "curl -i -X PUT http://localhost:8001/upstreams/example_upstream"
        "/targets/192.168.34.15:8000/192.168.34.15:8000/healthy",
        204,
    ),
    Line(
        "curl -i -X PUT http://localhost:8001/upstreams/example_upstream/targets/nope/healthy",
        404,
        {"message": "Not found"},
    ),
]

CREDENTIALS = [
    Line(
        "curl -d 'username=bob&custom_id=crm-1' http://localhost:8001/consumers/", 201, keep="bob"
    ),
    Line(
        "curl http://localhost:8001/consumers?custom_id=crm-1", 200, {"data": [ANY], "next": None}
    ),
    Line("curl -X POST http://localhost:8001/consumers/bob/key-auth", 201, {"key": ANY}),
    Line("curl -X POST http://localhost:8001/consumers/bob/key-auth -d ''", 201, {"key": ANY}),
    Line(
        "curl -X POST http://localhost:8001/consumers/$bob/key-auth -d ttl=3600", 201, {"ttl": ANY}
    ),
    Line(
        "curl -X POST http://localhost:8001/consumers/bob/basic-auth"
        ' --data "username=Aladdin" --data "password=OpenSesame"',
        201,
        {"username": "Aladdin", "consumer": ANY},
    ),
    Line('curl -X POST http://localhost:8001/consumers/bob/acls --data "group=group1"', 201),
    Line("curl -X PUT http://localhost:8001/consumers/bob/acls/group2", 200, {"group": "group2"}),
    Line("curl -X DELETE http://localhost:8001/consumers/bob/acls/group1", 204),
    Line(
        "curl -X POST http://localhost:8001/consumers/bob/jwt"
        ' -H "Content-Type: application/x-www-form-urlencoded"',
        201,
        {"algorithm": "HS256", "key": ANY, "secret": ANY},
    ),
    Line(
        "curl -X POST http://localhost:8001/consumers/bob/jwt"
        " -F rsa_public_key=@public.pem -F algorithm=RS256 -F key=issuer",
        201,
        {"key": "issuer", "algorithm": "RS256"},
    ),
    Line(
        "curl -X POST http://localhost:8001/consumers/bob/hmac-auth"
        ' --data "username=bob" --data "secret=secret"',
        201,
        {"secret": "secret"},
    ),
    Line("curl http://localhost:8001/key-auths?size=2", 200, {"data": [ANY] * 2, "offset": ANY}),
    Line("curl http://localhost:8001/basic-auths", 200, {"data": [ANY]}),
    Line("curl http://localhost:8001/jwts/issuer/consumer", 200, {"username": "bob"}),
    Line("curl -X DELETE http://localhost:8001/consumers/bob", 204),
    Line("curl http://localhost:8001/key-auths", 200, {"data": []}),
]

CERTIFICATES = [
    Line(
        'curl -i -X POST http://localhost:8001/certificates -F "cert=@cert.pem" -F "key=@key.pem"'
        ' -F "snis[]=ssl-example.com" -F "snis[]=*.ssl-example.com"',
        201,
        {"snis": ["*.ssl-example.com", "ssl-example.com"]},
        keep="certificate",
    ),
    Line("curl http://localhost:8001/certificates/ssl-example.com", 200, {"tags": None}),
    Line(
        "curl -X POST http://localhost:8001/snis"
        " -d name=other.example.com -d certificate.id=$certificate",
        201,
    ),
    Line("curl http://localhost:8001/certificates/$certificate/snis", 200, {"data": [ANY] * 3}),
    Line("curl -X POST http://localhost:8001/ca_certificates -F cert=@ca.pem", 201, keep="ca"),
    Line(
        "curl -X POST http://localhost:8001/services -d url=https://secure.internal"
        " -d client_certificate.id=$certificate -d ca_certificates=$ca -d tls_verify=true",
        201,
        {"tls_verify": True},
    ),
    Line("curl -X DELETE http://localhost:8001/ca_certificates/$ca", 400, {"code": 19}),
]

REFERENCE = [
    Line(
        "curl -X POST localhost:8001/services -H 'Content-Type: application/json'"
        """ -d '{"name": "json", "url": "http://json.internal:8080/v1"}'""",
        201,
        {"port": 8080, "path": "/v1"},
    ),
    Line(
        """curl localhost:8001/services --json '{"host": "h", "tags": ["a"]}'""",
        201,
        {"tags": ["a"]},
    ),
    Line(
        "curl -X PUT localhost:8001/services/put -d url=http://put.internal", 200, {"name": "put"}
    ),
    Line("curl -X PUT localhost:8001/consumers/ann", 200, {"username": "ann"}),
    Line(
        "curl -X POST localhost:8001/routes -d service.name=json"
        " --data-urlencode 'paths[]=~/orders/\\d+$' -d protocols=http -d protocols=https"
        " -d 'headers.x-version[]=v1' -d 'headers[x-tier]=gold'"
        " -d 'methods[1]=GET' -d 'methods[2]=PUT'",
        201,
        {
            "paths": [r"~/orders/\d+$"],
            "protocols": ["http", "https"],
            "headers": {"x-version": ["v1"], "x-tier": ["gold"]},
            "methods": ["GET", "PUT"],
        },
    ),
    Line("curl -X PATCH localhost:8001/services/json -d path=", 200, {"path": None}),
    Line("curl -G localhost:8001/services -d size=1", 200, {"data": [ANY], "offset": ANY}),
    Line("curl -i -X OPTIONS localhost:8001/services/json", 204),
    Line("curl -I localhost:8001/services/json", 200),
    Line("curl localhost:8001/endpoints", 200, {"data": ANY}),
    Line("curl localhost:8001/schemas/services", 200, {"fields": ANY}),
    Line("curl localhost:8001/schemas/plugins/greeting", 200, {"fields": ANY}),
    Line("curl localhost:8001/schemas/services/validate -d host=h", 200, {"message": ANY}),
]

REFUSED = [
    Line("curl -X POST localhost:8001/services -d name=x", 400, {"fields": {"host": ANY}}),
    Line(
        "curl -X POST localhost:8001/services -d host=h -d port=http",
        400,
        {"fields": {"port": "expected an integer"}},
    ),
    Line(
        """curl -X POST localhost:8001/services -d '{"host": "h"}'""",  # JSON sent as a form
        400,
        {"code": 2},
    ),
    Line("curl -X POST localhost:8001/services --json '{\"host\": '", 400, {"message": ANY}),
    Line("curl -X POST localhost:8001/services -H 'Content-Type: text/plain' -d host=h", 415),
    Line("curl -X POST localhost:8001/plugins -d name=nope", 400, {"fields": {"name": ANY}}),
    Line("curl localhost:8001/Services", 404, {"message": "Not found"}),
    Line("curl -X DELETE localhost:8001/services", 405, {"message": "Method not allowed"}),
    Line("curl -X PATCH localhost:8001/services/nobody -d host=h", 404, {"code": 6}),
    Line("curl -X DELETE localhost:8001/services/nobody", 204),
    Line("curl localhost:8001/workspaces", 404),
]

STORIES = {
    "getting started 2.8": GETTING_STARTED_2_8,
    "getting started 3": GETTING_STARTED_3,
    "load balancing": LOAD_BALANCING,
    "credentials": CREDENTIALS,
    "certificates": CERTIFICATES,
    "reference": REFERENCE,
    "refused": REFUSED,
}


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
async def test_tutorial(story: list[Line], admin_url: str, tmp_path: Path) -> None:
    write_files(tmp_path)
    ids: dict[str, str] = {}
    for line in story:
        status, answer = await typed(line.command, admin_url, ids, tmp_path)
        told = f"{line.command}\n{status} {json.dumps(answer)}"
        assert status == line.status, told
        for name, value in (line.pieces or {}).items():
            assert matches(answer[name], value), f"{told}\n{name} is not {value}"
        if line.keep:
            ids[line.keep] = answer["id"]


async def typed(
    command: str, admin_url: str, ids: dict[str, str], directory: Path
) -> tuple[int, Any]:
    """Run a command; return the status and the JSON of the answer."""
    assert CURL is not None, "CI has to install curl"
    command = command.replace("localhost:8001", admin_url.removeprefix("http://"))
    for name, id_ in ids.items():
        command = command.replace(f"${name}", id_)
    _, *arguments = shlex.split(command)
    process = await asyncio.create_subprocess_exec(
        *(CURL, "--disable", "-sS", "--noproxy", "*", "-w", r"\r\n\r\n%{http_code}", *arguments),
        cwd=directory,
        stdin=DEVNULL,
        stdout=PIPE,
    )
    async with asyncio.timeout(DEADLINE_S):
        stdout, _ = await process.communicate()
    said = stdout.decode().replace("\r\n", "\n")
    head_and_body, _, status = said.rpartition("\n\n")
    body = head_and_body.rpartition("\n\n")[2].strip()
    return int(status), json.loads(body) if body.startswith("{") else None


def matches(value: Any, expected: Any) -> bool:
    """Tell whether a value is what is expected, where ``ANY`` is content with all."""
    if isinstance(expected, dict):
        return all(name in value and matches(value[name], e) for name, e in expected.items())
    if isinstance(expected, list):
        return len(value) == len(expected) and all(map(matches, value, expected))
    return expected is ANY or value == expected


def write_files(directory: Path) -> None:
    authority = Authority()
    shown = authority.issue("ssl-example.com")
    (directory / "cert.pem").write_text(shown.cert_pem)
    (directory / "key.pem").write_text(shown.key_pem)
    (directory / "ca.pem").write_text(authority.pem)
    public = new_rsa_key().public_key()
    (directory / "public.pem").write_bytes(
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )

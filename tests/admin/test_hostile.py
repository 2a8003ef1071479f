"""Whatever is sent to whichever endpoint: an answer that says what is wrong, and nothing written.

The endpoints are those that the API itself names. Every row has the same id, which so fits into any
place of any path.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import psycopg
import pytest
from structlog.testing import capture_logs

from gateway.entities import ENTITIES
from gateway.store.store import Store
from tests.proxy.certificates import Authority

from .conftest import StandingNode, client_of

SHARES = 6
"""Parts that the endpoints are divided into, for tests to run side by side."""

ID = "6d8a3d4b-6a3f-4c0e-9d0b-9b6f1c1c1c1c"
THIS = {"id": ID}
CA = Authority()
PAIR = CA.issue("a.test")
KONG_PASSWORD = "{kong-sha1}" + 40 * "0"  # one that costs no time to hash

ROWS: dict[str, dict[str, Any]] = {
    "ca_certificates": {"cert": CA.pem},
    "certificates": {"cert": PAIR.cert_pem, "key": PAIR.key_pem},
    "snis": {"name": "a.test", "certificate": THIS},
    "services": {"name": "a", "host": "a.test"},
    "routes": {"name": "a", "paths": ["/a"], "service": THIS},
    "upstreams": {"name": "a"},
    "targets": {"target": "a.test:80"},
    "consumers": {"username": "a", "custom_id": "a"},
    "keyauth_credentials": {"key": "a", "consumer": THIS},
    "basicauth_credentials": {"username": "a", "password": KONG_PASSWORD, "consumer": THIS},
    "jwt_secrets": {"key": "a", "consumer": THIS},
    "hmacauth_credentials": {"username": "a", "consumer": THIS},
    "acls": {"group": "a", "consumer": THIS},
    "plugins": {"name": "key-auth"},
}
"""What is there, parents first."""

JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
MULTIPART = {"Content-Type": "multipart/form-data; boundary=b"}
PART = b'--b\r\nContent-Disposition: form-data; name="host"\r\n\r\n'

UNREADABLE: list[tuple[bytes, dict[str, str]]] = [
    (b"", JSON | {"Content-Length": "5"}),
    (b"\x00", JSON),
    (b"\xff\xfe{}", JSON),
    (b"\xef\xbb\xbf{}", JSON),
    (b"null", JSON),
    (b"[]", JSON),
    (b"{" * 100_000, JSON),
    (b'{"a":' * 1000 + b"1" + b"}" * 1000, JSON),
    (b'{"tags":[' + b"1," * 100_000 + b"1]}", JSON),
    (b'{"name":"a","name":"b"}', JSON),
    (b'{"port":NaN,"weight":-Infinity}', JSON),
    (b'{"port":' + b"9" * 100_000 + b"}", JSON),
    (b'{"name":"' + b"x" * 1_048_576 + b'"}', JSON),
    (b'{"name":"\n"}', JSON),
    (b'{"name":"a"} {}', JSON),
    (b"x", {"Content-Type": "text/plain"}),
    (b"{}", JSON | {"Content-Encoding": "gzip"}),
    (b"{}", {}),
    (b"%ff=%ff", FORM),
    (b"&".join(b"a%d=1" % n for n in range(1001)), FORM),
    (PART + b"a", MULTIPART),
    (PART + b"\xff\r\n--b--\r\n", MULTIPART),
    (b"\r\n" * 1000, MULTIPART),
    (b"{}", {"Content-Type": "multipart/form-data"}),
]
"""No endpoint takes these."""

VALUES: list[Any] = [
    None,
    True,
    "",
    "\x00",
    "a\x00b",
    "\ud800",
    "\udfff",
    "x" * 10_000,
    "é\u202e\u0301🦊",
    "%",
    "%00",
    "~/(",
    "~/(a+)+$",
    "{vault://env/x}",
    "'; DROP TABLE services; --",
    "/a\r\nX: 1",
    "00000000-0000-0000-0000-000000000000",
    0,
    -1,
    0.5,
    2**31,
    2**63,
    -(2**63) - 1,
    10**299,
    1.7976931348623157e308,
    5e-324,
    [],
    [None],
    [[]],
    ["\x00", "\ud800"],
    {},
    {"id": None},
    {"id": "a", "name": "a"},
    {"name": "\x00"},
    {"\x00": "a", "\ud800": ["\udfff"]},
    {"a": {"a": {"a": {}}}},
]
"""What a field may be told to be."""

NAMES = sorted({"url", "@entity", "\x00", "\ud800", "x" * 1000}.union(*ROWS.values()))
"""Fields of all kinds of entities; an endpoint knows some of them."""

SEGMENTS = [
    "%00",
    "%ff",
    "a%2Fb",
    "%25",
    "%F0%9F%A6%8A",
    "%0d%0aX:1",
    "..",
    "%2e%2e%2f",
    "*",
    "~",
    "'%22%3B--",
    "x" * 5000,
    "00000000-0000-0000-0000-000000000000",
    f"{ID}%00",
]

QUERIES = [
    "size=0",
    "size=1e9",
    "size=" + "9" * 1000,
    "offset=%00",
    "offset=WyJhIl0",
    "offset=" + "W" * 4000,
    "tags=%00",
    "tags=" + "a," * 100,
    "tags=%ff/%ff",
    "wait=x",
    "wait=cluster&timeout=-1",
    "custom_id=%00",
    "&" * 2000,
    "a" * 8000,
    "%zz=%zz&%00=%00",
]


class Api:
    """The API and its database."""

    def __init__(
        self, client: httpx.AsyncClient, database: psycopg.AsyncConnection[Any], log: list[Any]
    ) -> None:
        self._client = client
        self._database = database
        self._log = log
        self._written: Any = None

    async def paths(self) -> list[str]:
        """All paths, with the id in every place that takes one."""
        paths: list[str] = (await self._client.get("/endpoints")).json()["data"]
        return sorted({_filled(path, ID) for path in paths})

    async def patterns(self) -> list[str]:
        """All paths that have a place for an id."""
        paths: list[str] = (await self._client.get("/endpoints")).json()["data"]
        return [path for path in paths if "{" in path]

    async def methods(self, path: str) -> set[str]:
        allowed = (await self._client.options(path)).headers["Allow"]
        return set(allowed.split(", "))

    async def fill(self) -> None:
        """Let every row be there, as at first."""
        for table, row in ROWS.items():
            path = f"/{ENTITIES[table].collection}/{ID}"
            if table == "targets":
                path = f"/upstreams/{ID}/targets"
                response = await self._client.post(path, json=row | THIS)
                assert response.status_code in (201, 400, 409), response.text
            else:
                response = await self._client.put(path, json=row)
                assert response.status_code == 200, response.text
        self._written = await self._all_writes()

    async def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send something hostile, and look at what became of it."""
        request = self._client.build_request(method, path, **options)
        response = await self._client.send(request)
        what = (method, path[:200], str(options)[:200], response.status_code, response.text[:500])
        assert response.status_code < 500, what
        assert [line for line in self._log if "exc_info" in line] == [], what
        self._log.clear()
        before, self._written = self._written, await self._all_writes()
        if response.status_code >= 400:
            assert self._written == before, what
            check_refusal(response, what)
        return response

    async def _all_writes(self) -> Any:
        """Return what each write makes larger."""
        cursor = await self._database.execute(
            "SELECT version, (SELECT max(id) FROM audit) FROM config_version"
        )
        return await cursor.fetchone()


def check_refusal(response: httpx.Response, what: Any) -> None:
    """A refusal tells why, and nothing of what is inside."""
    if response.request.method == "HEAD":
        assert response.content == b""
        return
    assert response.headers["Content-Type"] == "application/json; charset=utf-8", what
    answer = json.loads(response.content)
    assert isinstance(answer["message"], str), what
    assert answer["message"], what
    for secret in ("Traceback", "psycopg", "sqlalchemy", "pydantic"):
        assert secret not in response.text, what


@pytest.fixture
async def api(store: Store, node: StandingNode, database_url: str) -> AsyncIterator[Api]:
    async with (
        client_of(store, node) as client,
        await psycopg.AsyncConnection.connect(database_url, autocommit=True) as database,
    ):
        with capture_logs() as log:
            api = Api(client, database, log)
            await api.fill()
            yield api


def _filled(pattern: str, segment: str) -> str:
    return "/".join(segment if part.startswith("{") else part for part in pattern.split("/"))


@pytest.mark.parametrize("share", range(SHARES))
async def test_what_cannot_be_read_is_refused_everywhere(api: Api, share: int):
    for path in (await api.paths())[share::SHARES]:
        for method in sorted(await api.methods(path) & {"POST", "PUT", "PATCH"}):
            for body, headers in UNREADABLE:
                response = await api.send(method, path, content=body, headers=headers)
                assert response.status_code in (400, 404, 405, 413, 415)


@pytest.mark.parametrize("share", range(SHARES))
async def test_no_value_is_too_odd_for_any_field_anywhere(api: Api, share: int):
    for path in (await api.paths())[share::SHARES]:
        for method in sorted(await api.methods(path) & {"POST", "PUT", "PATCH"}):
            for shift in range(0, len(VALUES), 4):
                values = itertools.islice(itertools.cycle(VALUES), shift, None)
                body = dict(zip(NAMES, values, strict=False))
                await api.send(method, path, content=as_json(body), headers=JSON)
            await api.send(method, path, content=as_form(NAMES), headers=FORM)


@pytest.mark.parametrize("table", ROWS)
async def test_an_entity_with_one_odd_field_is_stored_or_refused(api: Api, table: str):
    entity_type = ENTITIES[table]
    path = f"/{entity_type.collection}/{ID}"
    path = f"/upstreams/{ID}/targets/{ID}" if table == "targets" else path
    for name in entity_type.model.model_fields:
        for number, value in enumerate(VALUES):
            method = ("PUT", "PATCH")[number % 2]
            content = as_json({**ROWS[table], name: value})
            response = await api.send(method, path, content=content, headers=JSON)
            if response.status_code == 200:
                assert (await api.send("GET", path)).json() == response.json()


@pytest.mark.parametrize("share", range(SHARES))
async def test_no_segment_of_a_path_is_too_odd(api: Api, share: int):
    for pattern in (await api.patterns())[share::SHARES]:
        for number, segment in enumerate(SEGMENTS):
            path = _filled(pattern, segment)
            for method in ("GET", ("PUT", "PATCH", "DELETE")[number % 3]):
                await api.send(method, path, content=b"{}", headers=JSON)
        await api.fill()


@pytest.mark.parametrize("share", range(SHARES))
async def test_no_query_is_too_odd(api: Api, share: int):
    for path in (await api.paths())[share::SHARES]:
        for query in QUERIES:
            await api.send("GET", f"{path}?{query}")


def as_json(body: Any) -> bytes:
    return json.dumps(body).encode()


def as_form(names: list[str]) -> bytes:
    steps = ["", ".a", "[1]", "[]", "[999999999]", "[x]", "[%00]", "." * 1000, ".a" * 500]
    pairs = [f"{name}{step}=%00" for name in names for step in steps]
    return "&".join(pairs[:1000]).encode(errors="replace")

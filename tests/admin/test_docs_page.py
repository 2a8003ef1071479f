"""The page for people: whole, and without any other host."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import httpx
import pytest

from gateway.admin.docs_page.html import Html, element, prose, table
from gateway.entities import ENTITIES

Client = httpx.AsyncClient

VOID = {"meta", "input"}


class Reader(HTMLParser):
    """Reads a page as a strict browser would."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.inside: dict[str, str] = {}

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        told = {name: value or "" for name, value in attributes}
        self.ids += [told["id"]] if "id" in told else []
        self.links += [told["href"]] if "href" in told else []
        self.sources += [told["src"]] if "src" in told else []
        assert not any(name.startswith("on") or name == "style" for name in told)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("style", "script"):
            self.inside[self.open[-1]] = self.inside.get(self.open[-1], "") + data


@pytest.fixture
async def response(client: Client) -> httpx.Response:
    response = await client.get("/docs")
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/html")
    return response


@pytest.fixture
def read(response: httpx.Response) -> Reader:
    reader = Reader()
    reader.feed(response.text)
    reader.close()
    return reader


async def test_the_page_is_well_formed(read: Reader):
    assert read.open == []
    assert len(set(read.ids)) == len(read.ids)


async def test_every_link_leads_to_a_place_on_the_page_or_to_the_document(read: Reader):
    assert {link for link in read.links if link != "openapi.json"} <= {
        f"#{id_}" for id_ in read.ids
    }


async def test_the_page_asks_no_other_host(response: httpx.Response, read: Reader):
    assert read.sources == []
    assert "@import" not in response.text
    assert "url(" not in read.inside["style"]


async def test_its_policy_allows_its_own_style_and_script_only(
    response: httpx.Response, read: Reader
):
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    for kind in ("style", "script"):
        digest = hashlib.sha256(read.inside[kind].encode()).digest()
        assert f"{kind}-src 'sha256-{base64.b64encode(digest).decode()}'" in policy


async def test_all_that_openapi_tells_is_on_the_page(client: Client, read: Reader):
    openapi = (await client.get("/openapi.json")).json()
    operations = [it for path in openapi["paths"].values() for it in path.values()]
    assert {it["operationId"] for it in operations} <= set(read.ids)
    assert {tag["name"] for tag in openapi["tags"]} <= set(read.ids)


async def test_every_field_is_on_the_page(response: httpx.Response):
    told = set(re.findall(r"<code>([a-z_.\[\]]+)</code>", response.text))
    assert {name for it in ENTITIES.values() for name in it.model.model_fields} <= told
    assert "healthchecks.active.healthy.interval" in told
    assert "sources[].port" in told
    assert "url" in told


async def test_rules_are_told_in_words(response: httpx.Response):
    assert "From 0 to 65535." in response.text
    assert "If <code>hash_on</code> is <code>header</code>, then" in response.text
    assert "At least one of <code>custom_id</code>, <code>username</code>." in response.text


async def test_a_command_can_be_pasted(response: httpx.Response):
    assert "curl -X POST http://127.0.0.1:8001/services/orders/routes" in response.text


def test_no_text_becomes_markup():
    assert element("p", "<b>", Html("<i></i>"), title='"') == (
        '<p title="&quot;">&lt;b&gt;<i></i></p>'
    )
    assert prose("a `<b>` c") == "a <code>&lt;b&gt;</code> c"
    assert "&lt;" in table(("<", ">"), head=("a", "b"))

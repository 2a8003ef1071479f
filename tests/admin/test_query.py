"""Query strings: what is asked for, however it is spelled."""

from __future__ import annotations

from uuid import uuid4

import pytest

from gateway.admin.query import (
    offset_after,
    offset_after_tag,
    page_start,
    parse_pairs,
    parse_query,
    tag_page_start,
)
from gateway.store.overview import TagPlace


@pytest.mark.parametrize(
    ("raw", "query"),
    [
        (b"", {}),
        (b"a=1&b=2&a=3", {"a": "1", "b": "2"}),
        (b"tags=caf%C3%A9", {"tags": "caf\u00e9"}),
        (b"tags=caf\xc3\xa9", {"tags": "caf\u00e9"}),
        (b"tags=%ff", {"tags": "\ufffd"}),
        (b"tags=\xff", {"tags": "\ufffd"}),
        (b"a+b=c%20d", {"a b": "c d"}),
        (b"a", {"a": ""}),
    ],
)
def test_the_first_of_each_name_counts(raw: bytes, query: dict[str, str]):
    assert parse_query(raw) == query


def test_all_of_a_name_can_be_had():
    assert parse_pairs(b"a=1&b=2&a=3") == [("a", "1"), ("b", "2"), ("a", "3")]


def test_an_offset_leads_back_to_where_a_page_ended():
    id_ = uuid4()
    assert page_start({"offset": offset_after(id_)}) == id_
    place = TagPlace(id_, 3, "services")
    assert tag_page_start({"offset": offset_after_tag(place)}) == place
    assert page_start({}) is None
    assert tag_page_start({}) is None

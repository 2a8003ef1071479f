"""Forms: what is taken out is gone, and all else keeps its bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.plugins.form import MOST_FIELDS, read_form

JSON = "application/json"
MULTIPART = 'multipart/form-data; boundary="b"'

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda below: st.lists(below) | st.dictionaries(NAMES, below),
    max_leaves=5,
)


@given(st.dictionaries(NAMES, VALUES), NAMES, st.sampled_from([None, 1]), st.booleans())
def test_objects(content: dict[str, object], name: str, indent: int | None, plain: bool):
    form = read_form(json.dumps(content, indent=indent, ensure_ascii=plain).encode(), JSON)
    assert form is not None
    expected = [content[name]] if isinstance(content.get(name), str) else []
    assert form.values(name) == expected
    assert json.loads(form.without(name)) == {n: v for n, v in content.items() if n != name}


@given(st.binary(max_size=40), st.sampled_from([JSON, MULTIPART, "multipart/form-data", "\x00;="]))
def test_garbage_is_no_form_or_one_that_can_be_asked(body: bytes, content_type: str):
    form = read_form(body, content_type)
    if form is not None:
        assert form.values("no such field") == []
        assert read_form(form.without("no such field"), content_type) is not None


def part(name: str, content: bytes) -> bytes:
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"\r\nX-Other: 1\r\n\r\n'
    return head.encode() + content + b"\r\n"


def test_multipart():
    a, key, c = part("a", b"1"), part("key", b"k"), part("c", b"\xff\r\n--other")
    form = read_form(b"before\r\n" + a + key + c + b"--b--\r\nafter", MULTIPART)
    assert form is not None
    assert (form.values("key"), form.values("c")) == (["k"], [])
    assert form.without("key") == b"before\r\n" + a + c + b"--b--\r\nafter"
    alone = read_form(key + b"--b--\r\n", MULTIPART)
    assert alone is not None
    assert alone.without("key") == b"--b--\r\n"


@pytest.mark.parametrize(
    ("content_type", "body_of"),
    [
        ("application/x-www-form-urlencoded", lambda n: b"&".join([b"a=1"] * n)),
        (JSON, lambda n: json.dumps(dict.fromkeys(map(str, range(n)))).encode()),
        (MULTIPART, lambda n: part("a", b"") * n + b"--b--"),
    ],
)
def test_there_is_a_limit(content_type: str, body_of: Callable[[int], bytes]):
    assert read_form(body_of(MOST_FIELDS - 2), content_type) is not None
    assert read_form(body_of(MOST_FIELDS + 1), content_type) is None


@given(st.dictionaries(NAMES, VALUES), NAMES, NAMES, st.text(max_size=3))
def test_objects_are_edited(content: dict[str, object], old: str, new: str, text: str):
    form = read_form(json.dumps(content).encode(), JSON)
    assert form is not None
    if form.has(old):
        form.rename(old, new)
        content[new] = content.pop(old)
    assert json.loads(form.whole()) == content
    form.append(new, text)
    before = content.get(new, [])
    content[new] = [*before, text] if isinstance(before, list) else [before, text]
    assert json.loads(form.whole()) == content
    form.put(new, text)
    assert json.loads(form.whole()) == content | {new: text}
    form.remove(new)
    assert new not in json.loads(form.whole())


@given(st.lists(st.tuples(NAMES, st.text(max_size=3))), NAMES, NAMES, st.text(max_size=3))
def test_urlencoded_forms_are_edited(fields: list[tuple[str, str]], old: str, new: str, text: str):
    body = urlencode(fields).encode()
    form = read_form(body, "application/x-www-form-urlencoded")
    assert form is not None
    assert form.whole() == body
    expected = [field for field in fields if field[0] not in (old, new)]
    form.remove(old)
    form.put(new, text)
    form.append(new, text)
    found = parse_qsl(form.whole().decode(), keep_blank_values=True)
    assert [field for field in found if field[0] != new] == expected
    assert [field for field in found if field[0] == new] == [(new, text)] * 2


def test_a_text_with_the_boundary_in_it_does_not_become_a_part():
    form = read_form(part("a", b"1") + b"--b--\r\n", MULTIPART)
    assert form is not None
    form.put("a", "\r\n--b\r\nContent-Disposition: form-data; name=evil\r\n\r\n1")
    form.put('quo"te', "2")
    again = read_form(form.whole(), MULTIPART)
    assert again is not None
    assert (again.values("a"), again.values("quo%22te"), again.has("evil")) == ([""], ["2"], False)

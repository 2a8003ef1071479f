"""JSON that is read is what was sent; what is too much is told before it is parsed."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.admin.errors import ApiError
from gateway.admin.json_body import DEEPEST, MOST_VALUES, json_object

TEXTS = st.text() | st.text(st.sampled_from('\\"[]{},:\n'))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(TEXTS, below, max_size=4),
    max_leaves=20,
)
OBJECTS = st.dictionaries(TEXTS, VALUES, max_size=4)
MARKS = st.lists(st.sampled_from(['"', "\\", "[", "]", "{", "}", ",", ":", "1", "a", " "]))


def refusal(body: bytes) -> str:
    with pytest.raises(ApiError) as caught:
        json_object(body)
    assert caught.value.status == 400
    return str(caught.value.body["reason"])


@given(OBJECTS, st.booleans(), st.sampled_from([None, 2]))
def test_what_is_read_is_what_was_sent(value: dict[str, Any], ascii_only: bool, indent: int | None):
    body = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode(errors="surrogatepass")
    assert json_object(body) == value


@given(st.binary() | MARKS.map("".join).map(str.encode))
def test_anything_is_read_as_others_read_it_or_refused(body: bytes):
    with suppress(ApiError):
        assert json_object(body) == json.loads(body)


@given(st.lists(OBJECTS, min_size=1, max_size=3))
def test_an_object_alone_is_taken(values: list[Any]):
    assert refusal(json.dumps(values).encode()) == "expected an object"


def test_levels_are_counted_but_not_what_is_in_texts():
    within = '["[[[", ' * (DEEPEST - 1) + "1" + "]" * (DEEPEST - 1)
    assert json_object(f'{{"[{{": {within}}}'.encode())
    assert refusal(f'{{"a": [{within}]}}'.encode()) == f"nested deeper than {DEEPEST} levels"


def test_values_are_counted_but_not_what_is_in_texts():
    texts = ",".join(['"[{,"'] * (MOST_VALUES - 2))
    assert len(json_object(f'{{"a":[{texts}]}}'.encode())["a"]) == MOST_VALUES - 2
    assert refusal(f'{{"a":[{texts},1,1]}}'.encode()) == f"more than {MOST_VALUES} values"

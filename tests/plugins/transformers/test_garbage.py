"""What clients send may be anything: nothing of it makes a transformer fail."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from gateway.plugins.lines import values_of
from gateway.plugins.transformers.headers import Arguments, Headers, sendable
from gateway.plugins.transformers.templates import Template, compiled, from_bytes


@given(st.binary(max_size=40))
@example(b"%&=&%ff=%00&a")
def test_a_query_is_read_and_written(query: bytes):
    first = Arguments(b"?" + query).query()
    assert first.isascii()
    assert Arguments(first).query() == first


@given(st.binary(max_size=20))
def test_a_value_makes_one_line(value: bytes):
    headers = Headers(b"\r\nX-B: 1")
    headers.append("x-a", sendable(from_bytes(value)))
    assert headers.lines.count(b"\r\n") == 2
    assert len(values_of(headers.lines, "x-a")) == 1


PIECES = ["$(", ")", "headers", "query_params", "uri_captures", ".", "[", "]", "'", "1", "a", " "]


@given(st.lists(st.sampled_from(PIECES)).map("".join))
def test_a_text_is_a_template_or_plain_or_refused(text: str):
    try:
        made = compiled(text)
    except PydanticCustomError:
        assert "$(" in text
    else:
        assert isinstance(made, Template) == ("$(" in text)

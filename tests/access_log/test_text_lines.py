"""The access log as text: lines that any reader of the combined format takes apart."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access_log.record import unread_request
from gateway.access_log.text_lines import TextLines, escaped, local_time
from gateway.settings import Compat

from .records import HEAD, ID, STARTED_AT, record

COMBINED = re.compile(
    rb'(\S+) (\S+) (\S+) \[([^\]]+)\] "((?:[^"\\]|\\x[0-9A-F]{2})*)" (\d{3}) (\d+) '
    rb'"((?:[^"\\]|\\x[0-9A-F]{2})*)" "((?:[^"\\]|\\x[0-9A-F]{2})*)" request_id: "([0-9a-f]{32})"\n'
)
LINES = TextLines(Compat.NONE)


@pytest.fixture
def in_kolkata(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TZ", "IST-5:30")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("in_kolkata")
def test_a_line_to_the_byte():
    lines = b"\r\nHost: a\r\nuser-agent: curl/8\r\nReferer: https://b.test/c"
    assert TextLines(Compat.NONE).line(record(request_lines=lines)) == (
        b'192.0.2.1 - - [15/Nov/2023:03:43:20 +0530] "GET /a?b=c HTTP/1.1" 200 2 '
        b'"https://b.test/c" "curl/8" request_id: "' + ID + b'"\n'
    )


def test_kongs_name_of_the_id():
    line = TextLines(Compat.KONG).line(record())
    assert line.endswith(b'" kong_request_id: "' + ID + b'"\n')


def test_what_was_not_sent_is_a_dash():
    assert b' 200 2 "-" "-" request_id' in LINES.line(record(request_lines=b"\r\nHost: a"))


def test_a_time_is_that_of_each_request():
    for moment in (STARTED_AT, STARTED_AT + 1, STARTED_AT):
        assert local_time(int(moment)) in LINES.line(record(started_at=moment))


def test_the_size_is_that_of_the_body():
    assert b" 200 0 " in LINES.line(record(response_bytes=len(HEAD)))
    assert b" 499 0 " in LINES.line(record(status=499, response_bytes=0, response_head=b""))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"plain text/1.0 (x; y)", b"plain text/1.0 (x; y)"),
        (b'say "hi"', b"say \\x22hi\\x22"),
        (b"back\\slash", b"back\\x5Cslash"),
        (b"a\tb\r\n\x1b[31m\x7f", b"a\\x09b\\x0D\\x0A\\x1B[31m\\x7F"),
        ("é".encode(), b"\\xC3\\xA9"),
        (b"\xff", b"\\xFF"),
    ],
)
def test_what_could_end_a_field_is_escaped(text: bytes, expected: bytes):
    assert escaped(text) == expected


HEADER_VALUE = st.binary(max_size=60).map(lambda value: value.replace(b"\r", b"").strip(b" \t"))


@given(st.binary(max_size=80), HEADER_VALUE, HEADER_VALUE)
def test_no_client_can_write_a_line_of_its_own(target: bytes, referer: bytes, agent: bytes):
    lines = b"\r\nReferer: " + referer + b"\r\nUser-Agent: " + agent
    line = LINES.line(record(target=target, request_lines=lines))
    found = COMBINED.fullmatch(line)
    assert found is not None
    assert found[10] == ID
    assert line.count(b"\n") == 1
    assert line.isascii()


@given(st.binary(max_size=3000))
def test_a_request_that_could_not_be_read_is_told_as_it_came(received: bytes):
    unread = unread_request(b"192.0.2.1", ID, 400, (HEAD, b"bad"), received)
    found = COMBINED.fullmatch(LINES.line(unread))
    assert found is not None
    assert (found[6], found[7]) == (b"400", b"3")
    assert len(found[5]) <= 4 * 1024

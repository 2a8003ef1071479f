"""New cases from old ones: changes that leave enough of the grammar to get past the first check."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from fuzz.case import MARKER, Deed

_WORDS: tuple[bytes, ...] = (
    *(b"\r\n", b"\r\n\r\n", b"\n", b"\r", b" ", b"\t", b":", b",", b";", b"\x00", b"\xff", b"\x0b"),
    *(b"GET ", b"HEAD ", b"POST ", b"CONNECT ", b"/kept", b"/streamed", b"/none", b"?", b"%2e%2e/"),
    *(b"http://a/kept", b"*", b" HTTP/1.1", b" HTTP/1.0", b" HTTP/2.0", b"HTTP/1.1 "),
    *(
        b"100 Continue",
        b"101 Switching Protocols",
        b"103 Early Hints",
        b"200 OK",
        b"204 No Content",
    ),
    *(b"304 Not Modified", b"426 Upgrade Required", b"500 Oops", b"\r\nHost: a", b"\r\nHost: b"),
    *(b"\r\nContent-Length: 5", b"\r\nContent-Length: 0", b"\r\nContent-Length: 99999999999"),
    *(b"\r\nTransfer-Encoding: chunked", b"\r\nTransfer-Encoding: gzip, chunked"),
    *(b"\r\nConnection: close", b"\r\nConnection: keep-alive", b"\r\nConnection: Upgrade"),
    *(b"\r\nConnection: x-a", b"\r\nX-A: 1", b"\r\nUpgrade: websocket", b"\r\nUpgrade: h2c"),
    *(b"\r\nExpect: 100-continue", b"\r\nTE: trailers", b"\r\nTrailer: x-t", b"\r\nX-T: 1"),
    *(
        b"\r\nContent-Type: text/html",
        b"\r\nX-Accel-Buffering: no",
        b"\r\nX-Forwarded-For: 1.2.3.4",
    ),
    *(
        b"0\r\n\r\n",
        b"5\r\nhello\r\n",
        b"5;a=b\r\nhello\r\n",
        b"0\r\nX-T: 1\r\n\r\n",
        b"ffffffff\r\n",
    ),
    *(b"GET /kept HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /streamed HTTP/1.1\r\nHost: a\r\n\r\n"),
    *(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", b"x" * 1000, b"x" * 20_000),
    *(MARKER + deed.value for deed in Deed),
    *(MARKER + b"p%d" % seed for seed in range(4)),
)


def mutated(case: bytes, others: Sequence[bytes], chance: Random) -> bytes:
    """Return ``case`` with a few changes, maybe with parts of one of the ``others``."""
    for _ in range(chance.choice((1, 1, 2, 3, 5))):
        case = chance.choice(_CHANGES)(case, others, chance)
    return case


def _insert_word(case: bytes, _: Sequence[bytes], chance: Random) -> bytes:
    at = chance.randint(0, len(case))
    return case[:at] + chance.choice(_WORDS) + case[at:]


def _replace_byte(case: bytes, _: Sequence[bytes], chance: Random) -> bytes:
    at = chance.randrange(len(case) or 1)
    return case[:at] + bytes((chance.randrange(256),)) + case[at + 1 :]


def _delete(case: bytes, _: Sequence[bytes], chance: Random) -> bytes:
    start, end = _slice(case, chance)
    return case[:start] + case[end:]


def _repeat(case: bytes, _: Sequence[bytes], chance: Random) -> bytes:
    start, end = _slice(case, chance)
    return case[:end] + case[start:end] * chance.choice((1, 1, 2, 10)) + case[end:]


def _swap_acts(case: bytes, _: Sequence[bytes], chance: Random) -> bytes:
    parts = case.split(MARKER)
    one, other = chance.randrange(len(parts)), chance.randrange(len(parts))
    parts[one], parts[other] = parts[other], parts[one]
    return MARKER.join(parts)


def _delete_act(case: bytes, _: Sequence[bytes], chance: Random) -> bytes:
    parts = case.split(MARKER)
    del parts[chance.randrange(len(parts))]
    return MARKER.join(parts)


def _repeat_act(case: bytes, _: Sequence[bytes], chance: Random) -> bytes:
    parts = case.split(MARKER)
    parts.insert(chance.randint(0, len(parts)), chance.choice(parts))
    return MARKER.join(parts)


def _splice(case: bytes, others: Sequence[bytes], chance: Random) -> bytes:
    """Go on with the acts of another case."""
    if not others:
        return case
    parts, more = case.split(MARKER), chance.choice(others).split(MARKER)
    return MARKER.join(parts[: chance.randint(0, len(parts))] + more[chance.randrange(len(more)) :])


def _slice(case: bytes, chance: Random) -> tuple[int, int]:
    start = chance.randint(0, len(case))
    return start, min(len(case), start + chance.choice((1, 2, 4, 16, 64)))


_CHANGES = (
    _insert_word,
    _insert_word,
    _replace_byte,
    _delete,
    _repeat,
    _swap_acts,
    _delete_act,
    _repeat_act,
    _splice,
)

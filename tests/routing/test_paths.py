"""Normal form, re-escaping and upstream paths, held against every row of the reference tables."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.routing.paths import PathHandling, escape, forwarded_prefix, normalize, upstream_path

LEGAL_IN_A_REQUEST_LINE = re.compile(rb"[A-Za-z0-9!#$&'()*+,/:;=?@\[\]\-_.~%]*")

NORMALISATION = [  # request path, normal form, as sent upstream
    (b"", b"", b""),
    (b"/", b"/", b"/"),
    (b"/a/b/../c", b"/a/c", b"/a/c"),
    (b"/a//b///c", b"/a/b/c", b"/a/b/c"),
    (b"/a/..", b"/", b"/"),
    (b"/..", b"/", b"/"),
    (b"/./", b"/", b"/"),
    (b"/a/b/..", b"/a/", b"/a/"),
    (b"/a/.", b"/a/", b"/a/"),
    (b"/../x", b"/x", b"/x"),
    (b"/%2e%2e/x", b"/x", b"/x"),
    (b"/%41%7e", b"/A~", b"/A~"),
    (b"/%2f%3f", b"/%2F%3F", b"/%2F%3F"),
    (b"/a%2f..%2fb", b"/a%2F..%2Fb", b"/a%2F..%2Fb"),
    (b"/a%25b", b"/a%25b", b"/a%25b"),
    (b"/a%20b", b"/a b", b"/a%20b"),
    (b"/%e4%b8%ad", b"/\xe4\xb8\xad", b"/%E4%B8%AD"),
    (b"/%zz", b"/%zz", b"/%zz"),
    (b"/a//../b", b"/a/b", b"/a/b"),
    (b"/.well-known/a...b", b"/.well-known/a...b", b"/.well-known/a...b"),
    (b"*", b"*", b"*"),
]

UPSTREAM_PATHS = [  # service path, route path, request path, strip v0, strip v1, keep v0, keep v1
    (b"/", b"/shop", b"/shop", b"/", b"/", b"/shop", b"/shop"),
    (b"/", b"/shop", b"/shop/", b"/", b"/", b"/shop/", b"/shop/"),
    (b"/", b"/shop", b"/shop/cart", b"/cart", b"/cart", b"/shop/cart", b"/shop/cart"),
    (b"/", b"/shop", b"/shopping", b"/ping", b"/ping", b"/shopping", b"/shopping"),
    (b"/", b"/", b"/", b"/", b"/", b"/", b"/"),
    (b"/", b"/", b"/cart/", b"/cart/", b"/cart/", b"/cart/", b"/cart/"),
    (b"/", b"/shop/", b"/shop/", b"/", b"/", b"/shop/", b"/shop/"),
    (b"/", b"/shop/", b"/shop/cart", b"/cart", b"/cart", b"/shop/cart", b"/shop/cart"),
    (b"/api", b"/shop", b"/shop", b"/api", b"/api", b"/api/shop", b"/apishop"),
    (b"/api", b"/shop", b"/shop/", b"/api/", b"/api/", b"/api/shop/", b"/apishop/"),
    (
        b"/api",
        b"/shop",
        b"/shop/cart",
        b"/api/cart",
        b"/api/cart",
        b"/api/shop/cart",
        b"/apishop/cart",
    ),
    (
        b"/api",
        b"/shop",
        b"/shop/cart/",
        b"/api/cart/",
        b"/api/cart/",
        b"/api/shop/cart/",
        b"/apishop/cart/",
    ),
    (b"/api", b"/shop", b"/shopping", b"/api/ping", b"/apiping", b"/api/shopping", b"/apishopping"),
    (b"/api", b"/shop/", b"/shop/", b"/api/", b"/api", b"/api/shop/", b"/apishop/"),
    (
        b"/api",
        b"/shop/",
        b"/shop/cart",
        b"/api/cart",
        b"/apicart",
        b"/api/shop/cart",
        b"/apishop/cart",
    ),
    (b"/api", b"/", b"/", b"/api", b"/api", b"/api", b"/api"),
    (b"/api", b"/", b"/cart", b"/api/cart", b"/apicart", b"/api/cart", b"/apicart"),
    (b"/api", b"/", b"/cart/", b"/api/cart/", b"/apicart/", b"/api/cart/", b"/apicart/"),
    (b"/api/", b"/shop", b"/shop", b"/api", b"/api/", b"/api/shop", b"/api/shop"),
    (b"/api/", b"/shop", b"/shop/", b"/api/", b"/api/", b"/api/shop/", b"/api/shop/"),
    (
        b"/api/",
        b"/shop",
        b"/shop/cart",
        b"/api/cart",
        b"/api/cart",
        b"/api/shop/cart",
        b"/api/shop/cart",
    ),
    (
        b"/api/",
        b"/shop",
        b"/shopping",
        b"/api/ping",
        b"/api/ping",
        b"/api/shopping",
        b"/api/shopping",
    ),
    (b"/api/", b"/shop/", b"/shop/", b"/api/", b"/api/", b"/api/shop/", b"/api/shop/"),
    (
        b"/api/",
        b"/shop/",
        b"/shop/cart",
        b"/api/cart",
        b"/api/cart",
        b"/api/shop/cart",
        b"/api/shop/cart",
    ),
    (b"/api/", b"/", b"/", b"/api/", b"/api/", b"/api/", b"/api/"),
    (b"/api/", b"/", b"/cart", b"/api/cart", b"/api/cart", b"/api/cart", b"/api/cart"),
    (b"/api", None, b"/", b"/api", b"/api", b"/api", b"/api"),
    (b"/api", None, b"/cart", b"/api/cart", b"/apicart", b"/api/cart", b"/apicart"),
    (b"/api/", None, b"/", b"/api/", b"/api/", b"/api/", b"/api/"),
    (b"/api/", None, b"/cart/", b"/api/cart/", b"/api/cart/", b"/api/cart/", b"/api/cart/"),
    (b"/api", rb"~/v\d+", b"/v12", b"/api", b"/api", b"/api/v12", b"/apiv12"),
    (
        b"/api",
        rb"~/v\d+",
        b"/v12/cart",
        b"/api/cart",
        b"/api/cart",
        b"/api/v12/cart",
        b"/apiv12/cart",
    ),
    (b"/api/", rb"~/v\d+", b"/v12/", b"/api/", b"/api/", b"/api/v12/", b"/api/v12/"),
    (b"/", rb"~/v\d+/", b"/v12/cart", b"/cart", b"/cart", b"/v12/cart", b"/v12/cart"),
    (
        b"/api",
        b"/shop",
        b"/shop./cart",
        b"/api/cart",
        b"/apicart",
        b"/api/shop./cart",
        b"/apishop./cart",
    ),
    (
        b"/api",
        b"/shop",
        b"/shop../cart",
        b"/api/cart",
        b"/apicart",
        b"/api/shop../cart",
        b"/apishop../cart",
    ),
    (
        b"/api",
        b"/shop",
        b"/shop%2e%2E/cart",
        b"/api/cart",
        b"/apicart",
        b"/api/shop../cart",
        b"/apishop../cart",
    ),
    (b"/api", b"/shop", b"/shop//a/../b", b"/api/b", b"/api/b", b"/api/shop/b", b"/apishop/b"),
    (
        b"/api",
        b"/shop",
        b"/sh%6Fp/a%20b",
        b"/api/a%20b",
        b"/api/a%20b",
        b"/api/shop/a%20b",
        b"/apishop/a%20b",
    ),
    (
        b"/api",
        b"/shop",
        b"/shop/a%2fb",
        b"/api/a%2Fb",
        b"/api/a%2Fb",
        b"/api/shop/a%2Fb",
        b"/apishop/a%2Fb",
    ),
    (
        b"/api",
        b"/shop",
        b"/shop/%C3%A9",
        b"/api/%C3%A9",
        b"/api/%C3%A9",
        b"/api/shop/%C3%A9",
        b"/apishop/%C3%A9",
    ),
]

paths = st.lists(
    st.sampled_from([b"/", b".", b"%", b"%2", b"%2e", b"%2F", b"%41", b"%34", b"4", b"a", b" "])
    | st.binary(min_size=1, max_size=2),
    max_size=12,
).map(lambda parts: b"/" + b"".join(parts))


@pytest.mark.parametrize(("raw", "normal", "_sent"), NORMALISATION)
def test_a_request_path_has_one_normal_form(raw: bytes, normal: bytes, _sent: bytes) -> None:
    assert normalize(raw) == normal


@pytest.mark.parametrize(("_raw", "normal", "sent"), NORMALISATION)
def test_a_normal_form_is_escaped_for_the_request_line(
    _raw: bytes, normal: bytes, sent: bytes
) -> None:
    assert escape(normal) == sent


def test_a_stray_percent_sign_cannot_forge_an_encoded_dot_for_the_next_hop() -> None:
    assert normalize(b"/a/%%32%65%%32%65/b") == b"/a/%%32e%%32e/b"


@given(paths)
@example(b"/%%34%31")
@example(b"/%4%41")
def test_normalising_twice_is_normalising_once(raw: bytes) -> None:
    assert normalize(normalize(raw)) == normalize(raw)


@given(paths)
def test_a_normal_form_has_neither_empty_nor_dot_segments(raw: bytes) -> None:
    normal = normalize(raw)
    assert normal.startswith(b"/")
    assert b"//" not in normal
    assert not {b".", b".."} & set(normal.split(b"/"))


@given(paths)
def test_an_escaped_path_is_legal_and_means_the_same_to_the_next_hop(raw: bytes) -> None:
    sent = escape(normalize(raw))
    assert LEGAL_IN_A_REQUEST_LINE.fullmatch(sent)
    assert normalize(sent) == normalize(raw)


def matched_text(route_path: bytes | None, request_path: bytes) -> bytes | None:
    if route_path is None or not route_path.startswith(b"~"):
        return route_path
    found = re.match(route_path[1:], request_path)
    assert found
    return found[0]


@pytest.mark.parametrize(
    ("base", "route_path", "request_path", "strip_v0", "strip_v1", "keep_v0", "keep_v1"),
    UPSTREAM_PATHS,
)
def test_the_upstream_path_follows_the_reference_table(
    base: bytes,
    route_path: bytes | None,
    request_path: bytes,
    strip_v0: bytes,
    strip_v1: bytes,
    keep_v0: bytes,
    keep_v1: bytes,
) -> None:
    normal = normalize(request_path)
    matched = matched_text(route_path, normal)

    def sent(handling: PathHandling, *, strip: bool) -> bytes:
        return escape(upstream_path(base, normal, matched, strip=strip, handling=handling))

    assert sent("v0", strip=True) == strip_v0
    assert sent("v1", strip=True) == strip_v1
    assert sent("v0", strip=False) == keep_v0
    assert sent("v1", strip=False) == keep_v1


@pytest.mark.parametrize(
    ("matched", "strip", "prefix"),
    [
        (b"/shop", True, b"/shop"),
        (b"/shop", False, None),
        (b"/", True, None),
        (b"", True, None),
        (None, True, None),
        (b"/a b\r\nX: 1", True, b"/a%20b%0D%0AX:%201"),
    ],
)
def test_the_forwarded_prefix_is_what_was_stripped(
    matched: bytes | None, strip: bool, prefix: bytes | None
) -> None:
    assert forwarded_prefix(matched, strip=strip) == prefix

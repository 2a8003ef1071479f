"""Any configuration, as a file might declare it."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Document = dict[str, Any]

NAMES = st.from_regex(r"[a-z][a-z0-9._~-]{0,8}", fullmatch=True) | st.sampled_from(["é", "日本.x"])
HOSTS = st.from_regex(r"[a-z]{1,6}\.test", fullmatch=True)
TEXTS = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=9
)
TAGS = st.lists(st.sampled_from(["a", "b c", "ü", "42", "yes", "1e3"]), max_size=3, unique=True)
PATHS = st.lists(
    st.sampled_from(["/", "/a", "/a b", "/é", "/a%2Fb/", r"~/x/(?<id>\d+)$", "~/a|/b"]),
    min_size=1,
    max_size=3,
    unique=True,
)


def optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Document]:
    return st.fixed_dictionaries({}, optional=fields)


def entities(
    key: str, keys: st.SearchStrategy[str], rest: st.SearchStrategy[Document], most: int = 3
) -> st.SearchStrategy[list[Document]]:
    """Several entities that differ in ``key``."""
    one = st.builds(lambda value, more: {key: value, **more}, keys, rest)
    return st.lists(one, max_size=most, unique_by=lambda entity: entity[key])


ROUTES = entities(
    "name",
    NAMES,
    st.builds(
        lambda paths, more: {"paths": paths, **more},
        PATHS,
        optional(
            methods=st.lists(st.sampled_from(["GET", "PUT", "X"]), max_size=2, unique=True),
            hosts=st.lists(HOSTS, max_size=2, unique=True),
            headers=st.dictionaries(
                st.sampled_from(["x-a", "x-b"]), st.lists(TEXTS, max_size=2), max_size=2
            ),
            strip_path=st.booleans(),
            regex_priority=st.none() | st.integers(-9, 2**53),
            protocols=st.sampled_from([["http"], ["https"], ["https", "http"]]),
            tags=TAGS,
        ),
    ),
)
SERVICES = entities(
    "name",
    NAMES,
    st.builds(
        lambda host, more: {"host": host, **more},
        HOSTS,
        optional(
            port=st.integers(0, 65535),
            path=st.sampled_from(["/", "/base", None]),
            retries=st.none() | st.integers(0, 9),
            enabled=st.booleans(),
            tags=TAGS,
        ),
    ),
)
UPSTREAMS = entities(
    "name",
    HOSTS,
    optional(
        slots=st.integers(10, 99),
        tags=TAGS,
        healthchecks=optional(
            threshold=st.sampled_from([0, 12.5, 100]),
            active=optional(
                timeout=st.sampled_from([0.5, 2]),
                headers=st.none() | st.just({"x-probe": ["1"]}),
                healthy=st.just({"interval": 5, "http_statuses": [200]}),
            ),
        ),
        targets=entities(
            "target",
            st.sampled_from(["10.0.0.1", "a.test:81", "[::1]:80", "b.test"]),
            optional(weight=st.integers(0, 65535), tags=TAGS),
        ),
    ),
)
CONSUMERS = entities(
    "username",
    TEXTS,
    optional(
        tags=TAGS,
        acls=entities("group", TEXTS, optional(tags=TAGS)),
    ),
)
KEYS = st.lists(TEXTS, max_size=6, unique=True)


@st.composite
def documents(draw: st.DrawFn) -> Document:
    """A valid document: routes below their services or not, credentials shared out."""
    document: Document = {
        "_format_version": "3.0",
        "services": draw(SERVICES),
        "upstreams": draw(UPSTREAMS),
        "consumers": draw(CONSUMERS),
        "routes": [],
    }
    for route in draw(ROUTES):
        owner = draw(st.sampled_from([None, *document["services"]]))
        where = document if owner is None else owner
        where.setdefault("routes", []).append(route)
    for key in draw(KEYS) if document["consumers"] else ():
        consumer = draw(st.sampled_from(document["consumers"]))
        consumer.setdefault("keyauth_credentials", []).append({"key": key})
    return document

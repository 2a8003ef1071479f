"""Whatever stands in a file, it is accepted or refused, and what is refused can be told."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.declarative.checking import check
from gateway.declarative.document import KONG_ONLY
from gateway.declarative.plan import make_plan
from gateway.declarative.problems import InvalidConfigError
from gateway.declarative.refusals import invalid_config
from gateway.declarative.state import State
from gateway.entities import ENTITIES

from .documents import Document, documents

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
FIELDS = sorted({name for kind in ENTITIES.values() for name in kind.model.model_fields})
KEYS = [*ENTITIES, *FIELDS, *KONG_ONLY, "_info", "_transform", "_plugin_configs", "_config", "url"]


@st.composite
def spoilt(draw: st.DrawFn) -> Document:
    """A document with something else in a few places."""
    document = copy.deepcopy(draw(documents()))
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(document))
        where, key = draw(st.sampled_from(places))
        value = draw(JSON | st.fixed_dictionaries({draw(st.sampled_from(KEYS)): JSON}))
        if isinstance(where, dict) and draw(st.booleans()):
            key = draw(st.sampled_from(KEYS))
        where[key] = value
    return document


def _places(value: Any) -> Any:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, below in items:
        yield value, key
        if isinstance(below, dict | list):
            yield from _places(below)


def refusal(document: Any, select_tags: tuple[str, ...]) -> Document | None:
    """What a client would be told of the problems; None if there are none."""
    try:
        make_plan(check(document, select_tags), State.of({}))
    except InvalidConfigError as error:
        told: Document = json.loads(json.dumps(invalid_config(error, flatten=True)))
        return told
    return None


@given(spoilt(), st.sampled_from([(), ("a",)]))
def test_any_document_is_a_plan_or_a_list_of_problems(
    document: Document, select_tags: tuple[str, ...]
) -> None:
    told = refusal(document, select_tags)
    assert told is None or told["fields"]


@given(JSON, st.sampled_from(KEYS))
def test_anything_may_stand_at_the_top(value: Any, key: str) -> None:
    for document in (value, {"_format_version": "3.0", key: value}, {"_format_version": value}):
        refusal(document, ())

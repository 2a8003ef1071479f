"""Texts become plain values, or are refused with the line where it went wrong."""

from __future__ import annotations

import contextlib
import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gateway.declarative import bounds
from gateway.declarative.bounds import ReadError
from gateway.declarative.reading import read


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1\nb: [x, 2.5, true, null, ~]\n", {"a": 1, "b": ["x", 2.5, True, None, None]}),
        ('{"a": [1, {"b": "ü"}]}', {"a": [1, {"b": "ü"}]}),
        ("\ufeff{}", {}),
        ("# only a comment\na: 'x'", {"a": "x"}),
        ("since: 2024-01-01", {"since": "2024-01-01"}),
        ("a: =\nb: <<\nc: ['<<']", {"a": "=", "b": "<<", "c": ["<<"]}),
        ("a: !!str 12\nb: !!int '7'", {"a": "12", "b": 7}),
        ("b: &b {x: [1]}\nc: *b", {"b": {"x": [1]}, "c": {"x": [1]}}),
        ("a: &s text\nb: *s", {"a": "text", "b": "text"}),
        ("b: &b {x: 1}\nc: {<<: *b, x: 2, y: 3}", {"b": {"x": 1}, "c": {"x": 2, "y": 3}}),
        ("c: {x: 2, <<: [{x: 1, y: 3}, {y: 4, z: 5}]}", {"c": {"x": 2, "y": 3, "z": 5}}),
        ("k: |\n  -----BEGIN\n  END\n", {"k": "-----BEGIN\nEND\n"}),
    ],
)
def test_a_text_is_read(text: str, value: object) -> None:
    assert read(text) == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the file is empty"),
        ("a: b: c", "line 1, column 5: mapping values are not allowed"),
        ("a: 1\nb:\n  c: 1\n  c: 2\n", 'line 4, column 6: key "c" appears twice in one mapping'),
        ("a: [1\nb: 2", "line 2, column 2: did not find expected"),
        ("1: x", "line 1, column 1: key 1 is no string: quote it"),
        ("on: x", "line 1, column 1: key true is no string: quote it"),
        ("a: .inf", "line 1, column 4: '.inf' is no float"),
        ("a: " + "9" * 5000, "is no int"),
        ("a: !!binary aGk=", "line 1, column 4: tag tag:yaml.org,2002:binary is not supported"),
        ("a: !!python/object:os.system x", "is not supported"),
        ("- !thing {}", "tag !thing is not supported"),
        ("a: *nowhere", "line 1, column 4: alias *nowhere has no anchor before it"),
        ("a: &a [*a]", "line 1, column 8: alias *a is inside what it stands for"),
        ("a: {<<: 1}", "a merge key (<<) takes a mapping or a list of mappings"),
        ("--- 1\n--- 2", "line 2, column 1: a second document"),
        ('a: "\\ud800"', "line 1, column 7: found invalid Unicode character escape code"),
        ("a: \x00", "control characters are not allowed"),
        ('{"a": 1, "a": 2}', 'key "a" appears twice in one object'),
        ('{"a": "\\ud800"}', "half of a surrogate pair"),
        ('{"a": NaN}', "NaN is no JSON value"),
        ('{"a": 1e999}', "1e999 is too large a number"),
        ('{"a": ' + "9" * 5000 + "}", "an integer of 5000 digits"),
        ('{"a": ', "line 1 column 7"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(ReadError) as refused:
        read(text)
    assert str(refused.value).startswith("failed parsing declarative configuration: ")
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("levels", [bounds.MOST_LEVELS + 1, 200_000])
@pytest.mark.parametrize(("before", "after"), [("a: ", ""), ('{"a": ', "}")])
def test_nesting_is_bounded(levels: int, before: str, after: str) -> None:
    with pytest.raises(ReadError, match="nested more than 100 levels deep"):
        read(before + "[" * levels + "]" * levels + after)


def test_aliases_cannot_multiply_without_end() -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(ReadError, match="more than 5000000 values"):
        read("\n".join(lines))


def test_merges_cannot_multiply_without_end() -> None:
    lines = ["a0: &a0 {x: [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]}"]
    lines += [f"a{n}: &a{n} {{<<: *a{n - 1}, y{n}: *a{n - 1}}}" for n in range(1, 40)]
    with pytest.raises(ReadError, match="more than 5000000 values"):
        read("\n".join(lines))


def test_levels_hidden_behind_aliases_count() -> None:
    lines = ["a0: &a0 [1]", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 200))]
    with pytest.raises(ReadError, match="nested more than 100 levels deep"):
        read("\n".join(lines))


def test_the_size_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.declarative.reading.MOST_CHARACTERS", 10)
    with pytest.raises(ReadError, match="larger than 10 characters"):
        read("a: 23456789")


_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=15,
)


@given(st.dictionaries(_TEXT, _VALUES, max_size=5))
def test_json_and_yaml_say_the_same(value: dict[str, object]) -> None:
    assert read(json.dumps(value)) == value
    assert read("---\n" + yaml.dump(value, Dumper=yaml.CSafeDumper, allow_unicode=True)) == value


@given(st.text(max_size=200))
def test_any_text_is_a_value_or_a_refusal(text: str) -> None:
    with contextlib.suppress(ReadError):
        read(text)

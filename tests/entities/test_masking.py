"""What is secret is never shown, what may be secret neither, and the rest always."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from gateway.entities.entity import Record, Secret
from gateway.entities.masking import MASK, masked
from gateway.entities.types import Text


class Login(Record):
    user: Text = Field(description="Who.")
    password: Annotated[Text | None, Secret()] = Field(default=None, description="How.")


class Place(Record):
    path: Text = Field(description="Where.")


class Config(Record):
    key: Annotated[Text, Secret()] = Field(description="Secret.")
    keys: list[Annotated[Text, Secret()]] = Field(description="Each is secret.")
    maybe: Annotated[Text, Secret()] | None = Field(default=None, description="Secret, if any.")
    by_name: dict[str, Annotated[dict[str, Text], Secret()]] = Field(description="Secret.")
    login: Login | None = Field(default=None, description="Part of it is secret.")
    logins: Annotated[list[Login] | None, Field()] = Field(description="Of each a part.")
    by_host: dict[str, Login] = Field(description="Likewise.")
    either: Login | Place | None = Field(default=None, description="Who knows.")
    any_place: Place | Literal["all"] = Field(default="all", description="Nothing is secret.")
    notes: dict[str, Any] = Field(description="Anything, but nothing secret.")


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("key", "k", MASK),
        ("key", None, None),
        ("key", {"a": ["k"]}, MASK),
        ("keys", ["k", None, "l"], [MASK, None, MASK]),
        ("keys", "k", MASK),
        ("maybe", "k", MASK),
        ("maybe", None, None),
        ("by_name", {"a": {"b": "k"}}, {"a": MASK}),
        ("login", {"user": "u", "password": "k"}, {"user": "u", "password": MASK}),
        ("login", {"user": "u", "password": None}, {"user": "u", "password": None}),
        ("login", {"user": "u", "token": "k"}, {"user": "u", "token": MASK}),
        ("login", "u:k", MASK),
        ("login", ["k"], MASK),
        ("logins", [{"password": "k"}, "k"], [{"password": MASK}, MASK]),
        ("by_host", {"a": {"password": "k"}, "b": "k"}, {"a": {"password": MASK}, "b": MASK}),
        ("either", {"password": "k"}, MASK),
        ("either", {"path": "/"}, MASK),
        ("any_place", {"path": "/"}, {"path": "/"}),
        ("any_place", "all", "all"),
        ("notes", {"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}),
        ("nobody_knows", "k", MASK),
        ("nobody_knows", None, None),
    ],
)
def test_what_is_shown_of_a_field(name: str, value: Any, shown: Any):
    assert masked(Config, {name: value}) == {name: shown}

"""A plugin that somebody else has written: it has one field of each shape that clients read."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from gateway.entities.entity import Record
from gateway.entities.rules import Between, OneOf
from gateway.entities.types import Headers, Text, WholeNumber
from gateway.plugins.contract import Plugin


class Style(Record):
    """How the greeting is said."""

    tone: Annotated[Text, OneOf("kind", "plain")] | None = Field(
        default="plain", description="Choice of words."
    )
    emphasis: WholeNumber | None = Field(default=None, description="Exclamation marks.")


class Greeting(Plugin):
    """Greets callers."""

    name: ClassVar[str] = "greeting"
    priority: ClassVar[int] = 900
    version: ClassVar[str] = "1.0.0"

    class Config(Record):
        """What it says."""

        text: Text = Field(description="The greeting.")
        languages: list[Text] | None = Field(default=["en"], description="Languages it is said in.")
        minute: Annotated[WholeNumber, Between(0, 60)] | None = Field(
            default=None, description="Greetings a minute."
        )
        hidden: bool = Field(default=False, description="Whether nobody hears it.")
        headers: Headers | None = Field(default=None, description="Headers that go with it.")
        style: Style | None = Field(default=Style(), description="How it is said.")

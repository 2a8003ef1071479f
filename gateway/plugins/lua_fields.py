"""``custom_fields_by_lua``: code that Kong's log plugins may have, which is not run here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gateway.entities.errors import violation
from gateway.entities.rules import Satisfies
from gateway.entities.types import Text


def _without_code(fields: dict[str, str]) -> dict[str, str]:
    if fields:
        raise violation("code that stands in a configuration is not run: there can be no field")
    return fields


NoLuaFields = Annotated[
    Annotated[dict[Text, Text], Satisfies(_without_code)] | None,
    Field(description="Code that would make further fields; it is refused."),
]

"""Command-line options made from the settings classes, so that each setting is declared once.

`settings_options(NodeSettings)` turns a function of one settings object into a function of keyword
options that typer can read. An option that was not given is left to the environment and then to
the default, which is pydantic-settings' own order.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Iterator
from enum import Enum, EnumType
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import typer
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from gateway.settings import (
    SettingError,
    SettingsT,
    environment_variable,
    named,
    option_name,
    read_settings,
)

ResultT = TypeVar("ResultT")

_METAVARS: dict[Any, str] = {int: "INTEGER", float: "NUMBER", Path: "DIR", SecretStr: "URL"}


def settings_options(
    kind: type[SettingsT], *, only: Collection[str] | None = None
) -> Callable[[Callable[[SettingsT], ResultT]], Callable[..., ResultT]]:
    """Give a command one option per field of `kind` (or of those in `only`).

    The command is then called with the validated settings. A bad value raises `SettingError`.
    """
    fields = {name: f for name, f in kind.model_fields.items() if only is None or name in only}

    def decorate(command: Callable[[SettingsT], ResultT]) -> Callable[..., ResultT]:
        @functools.wraps(command)
        def run(**given: Any) -> ResultT:
            return command(read_settings(kind, **given))

        run.__signature__ = _signature(fields)  # type: ignore[attr-defined]  # read by inspect
        run.__annotations__ = {p.name: p.annotation for p in _parameters(fields)}
        return run

    return decorate


def require(settings: BaseSettings, field: str) -> None:
    """Raise `SettingError` if a setting that has no default was not given."""
    value = getattr(settings, field)
    if not (value.get_secret_value() if isinstance(value, SecretStr) else value):
        raise SettingError(
            f"{named(field)} is required: {type(settings).model_fields[field].description}"
        )


def metavar(field: FieldInfo) -> str:
    """Return what help and docs show for a value of this field."""
    kind: Any = _without_none(field.annotation)
    if isinstance(kind, EnumType):
        members: list[Enum] = list(kind)
        return "|".join(member.value for member in members)
    if get_origin(kind) is Literal:
        return "|".join(get_args(kind))
    return _METAVARS.get(kind, "TEXT")


def default_text(field: FieldInfo) -> str:
    """Return the default as help and docs show it; empty where there is no fixed one."""
    if field.default_factory is not None:
        return ""
    default = field.default
    if default is None:
        return ""
    if isinstance(default, SecretStr):
        return default.get_secret_value()
    return str(default).lower() if isinstance(default, bool) else str(default)


def _without_none(kind: Any) -> Any:
    """Return the type of a setting that need not have a value."""
    if isinstance(kind, UnionType) or get_origin(kind) is Union:
        kind = next(member for member in get_args(kind) if member is not NoneType)
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _signature(fields: dict[str, FieldInfo]) -> inspect.Signature:
    return inspect.Signature(list(_parameters(fields)))


def _parameters(fields: dict[str, FieldInfo]) -> Iterator[inspect.Parameter]:
    for name, field in fields.items():
        yield inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_option(name, field)
        )


def _option(name: str, field: FieldInfo) -> Any:
    """Return typer's annotation of one option; pydantic, not typer, checks the value."""
    is_flag = field.annotation is bool
    declarations = _flag(name) if is_flag else _names(name)
    option = typer.Option(
        *declarations,
        help=_help(name, field),
        metavar=None if is_flag else metavar(field),
        show_default=False,
    )
    return Annotated[(bool | None) if is_flag else (str | None), option]


def _names(name: str) -> list[str]:
    return list(dict.fromkeys([option_name(name), "--" + name.replace("_", "-")]))


def _flag(name: str) -> list[str]:
    return [f"{option_name(name)}/--no-{option_name(name)[2:]}"]


def _help(name: str, field: FieldInfo) -> str:
    facts = environment_variable(name)
    if default := default_text(field):
        facts += f", default {default}"
    return f"{field.description} [{facts}]"

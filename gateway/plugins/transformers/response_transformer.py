"""response-transformer: edits responses on their way to the client (plugins.md section 5.13)."""

from __future__ import annotations

import re
import warnings
from json import dumps
from typing import Annotated, Self

import structlog
from pydantic import Field, model_validator

from gateway.entities.entity import Record
from gateway.entities.errors import violation
from gateway.entities.rules import OneOf
from gateway.entities.types import Text
from gateway.plugins.contract import NodeServices, Plugin, Use
from gateway.plugins.form import read_object
from gateway.plugins.lines import values_of, without
from gateway.plugins.request import Request
from gateway.plugins.response import Response
from gateway.plugins.transformers.edits import Edits, names, renames, values
from gateway.plugins.transformers.headers import Headers, sendable
from gateway.plugins.transformers.pairs import HeaderEntry, HeaderPair, HeaderRename, Pair, split

JsonType = Annotated[Text, OneOf("boolean", "number", "string")]

# `json` is also a method of pydantic's models, a deprecated one that nobody calls here.
warnings.filterwarnings("ignore", 'Field name "json" in ".*" shadows', UserWarning, __name__)

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_NOTE = "response-transformer"

_log = structlog.get_logger(__name__)


class Removed(Record):
    """Names of what is taken out."""

    json: list[Text] = Field(default=[], description="Members of the body.")  # type: ignore[assignment]
    headers: list[HeaderEntry] = Field(
        default=[], description="Headers; as `name:value`, only those of them with this value."
    )


class Renamed(Record):
    """Old and new names, as ``old:new``, of what is renamed if it is there."""

    json: list[Pair] = Field(default=[], description="Members of the body.")  # type: ignore[assignment]
    headers: list[HeaderRename] = Field(default=[], description="Headers.")


class Put(Record):
    """Names and values, as ``name:value``."""

    json: list[Pair] = Field(default=[], description="Members of the body.")  # type: ignore[assignment]
    json_types: list[JsonType] = Field(
        default=[], description="Types of these values, in their order; text if there is none."
    )
    headers: list[HeaderPair] = Field(default=[], description="Headers.")

    @model_validator(mode="after")
    def _has_values_of_these_types(self) -> Self:
        self.members()
        return self

    def members(self) -> tuple[tuple[str, bytes], ...]:
        """Return names and values as JSON writes them. Raises a violation."""
        types = [*self.json_types, *["string"] * len(self.json)]
        return tuple(
            (name, _as_json(value, type_))
            for (name, value), type_ in zip(map(split, self.json), types, strict=False)
        )


def _as_json(value: str, type_: str) -> bytes:
    if type_ == "boolean":
        return b"true" if value == "true" else b"false"
    if type_ == "number":
        if _NUMBER.fullmatch(value) is None:
            raise violation(f"'{value}' is not a number", at="json")
        return value.encode()
    return dumps(value, ensure_ascii=False).encode()


class Passed:
    """Counts the bodies that were too large to be edited, and tells of them now and then."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.count = 0

    def note(self, use: Use) -> None:
        """Count one; each time their number has doubled is told."""
        self.count += 1
        if self.count & (self.count - 1) == 0:
            _log.warning(
                "responses were not transformed: they are larger than buffer_limit_bytes",
                plugin=use.name,
                id=str(use.id),
                limit_bytes=self.limit_bytes,
                responses=self.count,
            )


class ResponseTransformer(Plugin):
    """Edits the headers of responses, and the members of those that are objects of JSON."""

    name = "response-transformer"
    priority = 800

    class Config(Record):
        """What to change, in the order: removed, renamed, replaced, added, appended."""

        remove: Removed = Field(default_factory=Removed, description="What is taken out.")
        rename: Renamed = Field(default_factory=Renamed, description="What gets another name.")
        replace: Put = Field(
            default_factory=Put, description="What gets another value if it is there."
        )
        add: Put = Field(default_factory=Put, description="What is set unless it is there.")
        append: Put = Field(default_factory=Put, description="What gets one more value.")

    config: Config
    shared: Passed

    @classmethod
    def share(cls, node: NodeServices) -> Passed:
        """Return the count, with the limit of this node."""
        return Passed(node.settings.buffer_limit_bytes)

    def __init__(self, config: Config, use: Use, shared: Passed) -> None:
        super().__init__(config, use, shared)
        put = (config.replace, config.add, config.append)
        removed = map(split, config.remove.headers)
        self._removed_values = [(name, value) for name, value in removed if value]
        self._headers: Edits[bytes] = Edits(
            tuple(name for name in config.remove.headers if ":" not in name),
            renames(config.rename.headers),
            *(values(how.headers, sendable) for how in put),
        )
        self._members: Edits[bytes] = Edits(
            names(config.remove.json),
            renames(config.rename.json),
            *(how.members() for how in put),
        )
        self.body_filter = self._filter if self._members else None

    def header_filter(self, request: Request, response: Response) -> None:
        """Edit the headers, and keep the body back if there may be something to edit."""
        edits_body = self._members and _is_plain_json(response)
        lines = response.lines
        for name, value in self._removed_values:
            lines = _without_value(lines, name, value)
        if self._headers:
            headers = Headers(lines)
            self._headers.apply(headers, bytes)
            lines = headers.lines
        if edits_body:
            lines = without(lines, "content-length")  # of the body that a GET would have got
            request.context[_NOTE] = bytearray()
        response.lines = lines

    def _filter(self, request: Request, data: bytes, ended: bool) -> bytes:
        kept: bytearray | None = request.context.get(_NOTE)
        if kept is None:
            return data
        kept += data
        if len(kept) > self.shared.limit_bytes:
            self.shared.note(self.use)
            del request.context[_NOTE]
            return bytes(kept)
        return self._edited(bytes(kept)) if ended else b""

    def _edited(self, body: bytes) -> bytes:
        content = read_object(body)
        if content is None:
            return body
        self._members.apply(content, bytes)
        return content.whole()


def _is_plain_json(response: Response) -> bool:
    """Tell whether the body is JSON, and nobody has compressed it."""
    content_type = response.header("content-type")
    if content_type is None or "application/json" not in content_type.lower():
        return False
    return (response.header("content-encoding") or "identity").lower() == "identity"


def _without_value(lines: bytes, name: str, value: str) -> bytes:
    """Return the lines but for those of one header that have just this value."""
    unwanted = value.strip().encode().decode("latin-1")
    found = values_of(lines, name)
    if unwanted not in found:
        return lines
    kept = (_line(name, other) for other in found if other != unwanted)
    return without(lines, name) + b"".join(kept)


def _line(name: str, value: str) -> bytes:
    """Return a header line for a value that was in one."""
    return b"\r\n%b: %b" % (name.encode(), value.encode("latin-1"))

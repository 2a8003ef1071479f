"""ip-restriction: only from these addresses, or from all but these (plugins.md section 5.9)."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_network
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from gateway.entities.entity import Record
from gateway.entities.errors import ENTITY, violation
from gateway.entities.rules import Between
from gateway.entities.types import AddressOrNetwork, Text, WholeNumber
from gateway.plugins.contract import HTTP_PROTOCOLS, Plugin, Use
from gateway.plugins.reply import Reply, refuse
from gateway.plugins.request import Request
from gateway.proxy.addresses import Networks
from gateway.proxy.client import UNIX_ADDRESS

_NO_ADDRESS = refuse(
    403, "Cannot identify the client IP address, unix domain sockets are not supported."
)


class IpRestriction(Plugin):
    """Lets requests in, or not, by the address of their client."""

    name = "ip-restriction"
    priority = 990
    protocols = (*HTTP_PROTOCOLS, "tcp", "tls")

    class Config(Record):
        """Whose requests are let in."""

        allow: list[AddressOrNetwork] | None = Field(
            default=None, description="Addresses and networks that may ask; empty: all."
        )
        deny: list[AddressOrNetwork] | None = Field(
            default=None, description="Addresses and networks that may not, whatever `allow` says."
        )
        status: Annotated[WholeNumber, Between(200, 599)] | None = Field(
            default=None, description="Status of a refusal; null: 403."
        )
        message: Text | None = Field(
            default=None, description="What a refusal says; null: which address is not allowed."
        )

        @model_validator(mode="after")
        def _restricts(self) -> Self:
            if not self.allow and not self.deny:
                raise violation(
                    "at least one of these fields must be non-empty: 'config.allow', 'config.deny'",
                    at=ENTITY,
                )
            return self

    config: Config

    def __init__(self, config: Config, use: Use, shared: Any = None) -> None:
        super().__init__(config, use, shared)
        self._allow = _networks(config.allow)
        self._deny = _networks(config.deny)
        self._allows_all = not config.allow

    def access(self, request: Request) -> Reply | None:
        """Refuse whom `deny` names, and whom `allow` does not."""
        address = request.asked.client_address
        if address == UNIX_ADDRESS:
            return _NO_ADDRESS
        if address not in self._deny and (self._allows_all or address in self._allow):
            return None
        status, message = self.config.status, self.config.message
        return refuse(status or 403, message or f"IP address not allowed: {address.decode()}")


def _networks(texts: Sequence[str] | None) -> Networks:
    return Networks([ip_network(text, strict=False) for text in texts or ()])

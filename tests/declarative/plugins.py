"""A plugin for files to use, as none comes with the gateway."""

from __future__ import annotations

from gateway.entities.entity import Record
from gateway.plugins.contract import Plugin


class Limit(Plugin):
    name = "limit"
    priority = 1

    class Config(Record):
        minute: int = 60
        policy: str = "local"

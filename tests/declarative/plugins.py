"""Plugins for files to use."""

from __future__ import annotations

from typing import Annotated

from gateway.entities.entity import Record, Secret
from gateway.entities.types import PROTOCOLS
from gateway.plugins.contract import Plugin


class Limit(Plugin):
    name = "limit"
    priority = 1

    class Config(Record):
        minute: int = 60
        policy: str = "local"


class Alarm(Plugin):
    name = "alarm"
    priority = 2

    class Config(Record):
        url: str = "http://alarm.test"
        token: Annotated[str, Secret()] = "none"


class Stream(Plugin):
    name = "stream"
    priority = 3
    protocols = PROTOCOLS

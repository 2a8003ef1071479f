"""What a plugin declares about itself.

A plugin is a class like this, found by its entry point in the group ``gateway.plugins``::

    class Maintenance(Plugin):
        name = "maintenance"
        priority = 500

        class Config(Record):
            message: Text = Field(default="back soon", description="What callers are told.")
"""

from __future__ import annotations

from typing import ClassVar

from gateway.entities.entity import Record

HTTP_PROTOCOLS = ("grpc", "grpcs", "http", "https")


class Plugin:
    """Base of all plugins.

    Those of higher ``priority`` go first. ``Config`` is what may stand in ``config`` of an entity;
    ``scopes`` what an entity may be limited to, ``protocols`` what it may be for.
    """

    name: ClassVar[str]
    priority: ClassVar[int]
    version: ClassVar[str] = "1.0.0"
    scopes: ClassVar[frozenset[str]] = frozenset({"route", "service", "consumer"})
    protocols: ClassVar[tuple[str, ...]] = HTTP_PROTOCOLS

    class Config(Record):
        """A plugin with nothing to set."""

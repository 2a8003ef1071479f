"""Who asks: known by the login, told to the database with each write."""

from __future__ import annotations

from starlette.requests import Request

from gateway.store.actor import Actor

ACTOR = "gateway.actor"
"""Where the login leaves the actor in the scope of a request."""


def actor_of(request: Request) -> Actor:
    """Return who asks, as the login has found."""
    actor: Actor = request.scope[ACTOR]
    return actor

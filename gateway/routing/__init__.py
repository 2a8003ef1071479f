"""Which route takes a request, and with which path it goes upstream. Pure: bytes in, facts out."""

from gateway.routing.conditions import Conditions
from gateway.routing.patterns import Captures
from gateway.routing.router import Router, select
from gateway.routing.rules import Candidate, CompiledRule, RouteRule, compile_rule

__all__ = [
    "Candidate",
    "Captures",
    "CompiledRule",
    "Conditions",
    "RouteRule",
    "Router",
    "compile_rule",
    "select",
]

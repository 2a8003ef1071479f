"""Which route takes a request, and with which path it goes upstream. Pure: bytes in, facts out."""

from gateway.routing.compiler import HTTP_FAMILY, compile_rule
from gateway.routing.conditions import Conditions
from gateway.routing.patterns import Captures
from gateway.routing.router import Router, select
from gateway.routing.rules import Candidate, CompiledRule, RouteRule

__all__ = [
    "HTTP_FAMILY",
    "Candidate",
    "Captures",
    "CompiledRule",
    "Conditions",
    "RouteRule",
    "Router",
    "compile_rule",
    "select",
]

"""request-termination: an answer in place of the service's (plugins.md section 5.14)."""

from __future__ import annotations

from gateway.plugins.request_termination.plugin import RequestTermination

__all__ = ["RequestTermination"]

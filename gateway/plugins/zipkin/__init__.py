"""zipkin: spans of requests for a collector that speaks Zipkin's JSON (plugins.md section 5.22)."""

from __future__ import annotations

from gateway.plugins.zipkin.plugin import Zipkin

__all__ = ["Zipkin"]

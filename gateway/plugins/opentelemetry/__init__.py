"""opentelemetry: spans of requests for a collector that speaks OTLP (plugins.md section 5.21)."""

from __future__ import annotations

from gateway.plugins.opentelemetry.plugin import OpenTelemetry

__all__ = ["OpenTelemetry"]

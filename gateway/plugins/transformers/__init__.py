"""request-transformer and response-transformer: edit what passes (plugins.md 5.12 and 5.13)."""

from __future__ import annotations

from gateway.plugins.transformers.request_transformer import RequestTransformer
from gateway.plugins.transformers.response_transformer import ResponseTransformer

__all__ = ["RequestTransformer", "ResponseTransformer"]

"""An API-gateway cluster: N identical nodes on one PostgreSQL."""

__version__ = "0.1.0"

KONG_ADMIN_API_VERSION = "3.9.3"
"""The level of Kong's Admin API that a node speaks; clients read it from ``GET /``."""

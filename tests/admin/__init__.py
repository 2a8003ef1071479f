"""Tests of gateway.admin, over HTTP messages and a real PostgreSQL."""

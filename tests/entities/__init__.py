"""Tests of gateway.entities."""

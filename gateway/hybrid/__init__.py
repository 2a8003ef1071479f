"""Hybrid mode: control planes have the database, data planes ask them for the configuration."""

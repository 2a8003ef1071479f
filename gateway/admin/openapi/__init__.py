"""The Admin API described as OpenAPI 3.1: what it has follows from the table of its paths."""

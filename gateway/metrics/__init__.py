"""What a node counts: plain integers on the hot path, Prometheus text on request."""

"""What plugins for tracing have in common: the trace of a request, and headers that carry it on."""

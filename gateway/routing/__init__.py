"""Which route takes a request, and with which path it goes upstream. Pure: bytes in, facts out."""

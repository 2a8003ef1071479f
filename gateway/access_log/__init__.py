"""The access log: one line for each request that a client sent."""

from gateway.access_log.log import AccessLog
from gateway.access_log.record import Record, TlsFacts, Try, unread_request
from gateway.access_log.writer import WriterCounts

__all__ = ["AccessLog", "Record", "TlsFacts", "Try", "WriterCounts", "unread_request"]

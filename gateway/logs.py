"""Where log lines go: structlog and the standard library's loggers, to standard error.

A slow terminal or pipe must not hold up the event loop, so lines are handed to a thread through a
queue. Secrets never get here: settings hold them as SecretStr, and nobody logs request headers.
"""

from __future__ import annotations

import atexit
import logging
import queue
import sys
from logging.handlers import QueueHandler, QueueListener

import structlog

from gateway.settings import LogFormat, SharedSettings

_QUEUE_LINES = 10_000
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_TALKATIVE = ("uvicorn.error", "httpx", "httpcore", "alembic", "websockets")


class _LossyQueueHandler(QueueHandler):
    """Drops lines rather than wait when the reader of our log does not keep up."""

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            return

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record  # rendered in the listener's thread of this same process


def configure_logs(settings: SharedSettings) -> None:
    """Send all log lines of this process to standard error as the settings say."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _renderer(settings.log_format),
            ],
            foreign_pre_chain=shared,
        )
    )
    _log_through_queue(handler, _LEVELS[settings.log_level])


def _renderer(log_format: LogFormat) -> structlog.typing.Processor:
    if log_format is LogFormat.JSON:
        return structlog.processors.JSONRenderer()
    return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0)


def _log_through_queue(handler: logging.Handler, level: int) -> None:
    lines: queue.Queue[logging.LogRecord] = queue.Queue(_QUEUE_LINES)
    root = logging.getLogger()
    root.handlers[:] = [_LossyQueueHandler(lines)]
    root.setLevel(level)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    listener = QueueListener(lines, handler)
    listener.start()
    atexit.register(listener.stop)

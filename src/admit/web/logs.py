"""The log: one JSON object a line, or coloured text on a terminal."""

import logging
import sys
from typing import Any, TextIO

import msgspec
import structlog

from admit.config import Settings

# Both kinds show the values of local variables by default, and codes and secrets are among them.
_TRACEBACKS = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)
_CONSOLE = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)

_JSON = structlog.processors.JSONRenderer(lambda line, **_: msgspec.json.encode(line, enc_hook=repr).decode())

_QUIET = ("uvicorn.error", "uvicorn.access", "websockets", "asyncio")
"""Loggers of others. Below a warning they tell what is ours to tell, with addresses and tokens in them."""


def configure_logs_for_good(settings: Settings) -> None:
    """As `configure_logs`, in a process that will not do so again: its loggers need not look each time."""
    configure_logs(settings)
    structlog.configure(cache_logger_on_first_use=True)


def configure_logs(settings: Settings, stream: TextIO | None = None) -> None:
    """Sends every log to `stream`, standard error by default, from LOG_LEVEL on."""
    target = stream or sys.stderr
    level = getattr(logging, settings.log_level.upper())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Any] = [_CONSOLE] if target.isatty() else [_TRACEBACKS, _JSON]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(target),
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[handler], force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)

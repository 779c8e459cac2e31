"""Structured logs: every line is an event with a stable id, on stderr, for a terminal or as JSON
(docs/cli.md, "Logs").

`log = get_logger("p2p")` and `log.info("peer.refused", peer=..., reason=...)`: the first argument is the
event id, dotted, never formatted; what varies is a field. Bytes are shown as hex. The level can be changed
at run time.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_level = logging.INFO


def _drop_below_level(_: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if LEVELS.get(method, logging.CRITICAL) < _level:
        raise structlog.DropEvent
    return event


def _show_bytes(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if isinstance(value, bytes):
            event[key] = value.hex()
    return event


def set_level(level: str) -> None:
    """Change the level at run time. Raises KeyError on an unknown name."""
    global _level
    _level = LEVELS[level]


def setup_logging(
    level: str = "info", style: str = "auto", *, stream: TextIO | None = None, **context: str
) -> None:
    """Set the process's logging up, once. `context` (for example node="validator-0") is on every line.

    Lines of libraries that use the standard `logging` are kept at WARNING and above, as event
    `library.message`.
    """
    out = sys.stderr if stream is None else stream
    as_json = style == "json" or (style == "auto" and not out.isatty())
    renderer: Any = (
        structlog.processors.JSONRenderer(sort_keys=False)
        if as_json
        else structlog.dev.ConsoleRenderer(colors=out.isatty())
    )
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _show_bytes,
        structlog.processors.format_exc_info,
    ]
    set_level(level)
    structlog.configure(
        processors=[_drop_below_level, *shared, renderer],
        logger_factory=structlog.PrintLoggerFactory(out),
        wrapper_class=structlog.BoundLogger,
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(**context)
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, _as_library_event],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


def _as_library_event(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event["message"] = event.get("event")
    event["event"] = "library.message"
    return event


def get_logger(room: str) -> Any:
    """A logger whose lines carry `room`."""
    return structlog.get_logger(room=room)

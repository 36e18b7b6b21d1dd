"""Logs: one line per event on standard error, in UTC. What ends a thread or the process is logged, too.

Nothing secret is passed to a logger on purpose. But an exception may quote what it stumbled over, so every line is masked.
"""

import logging
import sys
import threading
import time
from types import TracebackType

from andoncord.telemetry.redact import redact_text

logger = logging.getLogger(__name__)


class Formatter(logging.Formatter):
    """`2026-01-01T00:00:00.000Z LEVEL logger message`, one line whatever the message holds; a traceback follows indented."""

    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")
        self.converter = time.gmtime

    def format(self, record: logging.LogRecord) -> str:
        return redact_text(super().format(record))[0]

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is logging's
        return super().formatMessage(record).replace("\r", "\\r").replace("\n", "\\n")


def log_to_stderr(level: int = logging.INFO) -> None:
    """Send every logger's output to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(Formatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for chatty in ("uvicorn", "alembic", "httpx2"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    sys.excepthook = _log_the_end
    threading.excepthook = _log_the_end_of_a_thread


def _log_the_end(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logger.critical("the process ends", exc_info=(kind, error, traceback))


def _log_the_end_of_a_thread(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_value is not None and ended.exc_type is not SystemExit:
        name = ended.thread.name if ended.thread else "?"
        logger.critical("thread %s ends", name, exc_info=(ended.exc_type, ended.exc_value, ended.exc_traceback))

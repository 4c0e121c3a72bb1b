"""What the operator reads on standard error: one line an event, as text or as JSON, from a level upwards.

Everything in the project says what it has to say with structlog, as an event and its facts (`log.info("ready",
http=…)`); how that looks is decided here, once. What libraries say through the standard `logging` is passed on at
warning and above. Tracebacks are plain, without the values of variables: those hold users' data.
"""

import logging
import sys

import structlog

from corecache.config import Log


def configure(settings: Log) -> None:
    """Sets the log up for the whole process."""
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if settings.format == "json":
        shared += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        shared.append(renderer)
    structlog.configure(
        processors=shared,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")

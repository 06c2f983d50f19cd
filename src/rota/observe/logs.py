"""Log lines of the program itself, as JSON or for a console. What tasks write becomes lines of their runs instead.

Every line bears what the code around it noted (`request`, `actor`) and what `about` says (the run it works for).
Nothing that looks like a credential leaves the process this way, whatever was logged.
"""

import logging
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor

About = Callable[[], Mapping[str, str]]
"""What is known of the work under way, such as run, attempt and task; empty outside of any."""

SECRET_NAMES = re.compile(r"passw|secret|token|authorization|api.?key|cookie|credential|dsn", re.IGNORECASE)
SECRETS = re.compile(
    r"(?P<url>://[^/\s:@]*:)[^@/\s]+(?=@)"
    r"|(?P<scheme>\b(?:Bearer|Basic)\s+)[\w.~+/=-]+"
    r"|(?P<key>\brota_[a-z]+_)[\w-]{8,}"
    r"|(?P<jwt>(?<![\w-])eyJ)[\w-]+\.[\w-]+\.[\w-]*",
    re.IGNORECASE,
)
HIDDEN = "•••"
LONGEST = 8_192
FIELDS = ("status", "ms", "address")
"""What lines may bring along beside their text (`extra`)."""
CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""What could end a line, or move the cursor of whoever reads it."""


_noted: ContextVar[dict[str, str]] = ContextVar("rota_noted")


@contextmanager
def noted(**said: str) -> Iterator[dict[str, str]]:
    """What lines are to bear that are written while the block lasts; it may be added to."""
    mark = _noted.set({**_noted.get({}), **said})
    try:
        yield _noted.get()
    finally:
        _noted.reset(mark)


def masked(text: str) -> str:
    """A text without passwords in URLs, bearer credentials, API keys and JSON web tokens."""
    return SECRETS.sub(lambda found: (found[found.lastgroup] if found.lastgroup else "") + HIDDEN, text)


def configure(level: str = "info", style: str = "console", about: About = dict) -> None:
    """Send everything that is logged, by whichever library, to standard error. `style`: `json` or `console`."""
    structlog = _structlog()

    def tell_about(_: Any, __: str, event: "EventDict") -> "EventDict":
        return {**_noted.get({}), **about(), **event}

    shared: list[Processor] = [
        tell_about,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.stdlib.ExtraAdder(FIELDS),
        structlog.processors.TimeStamper("iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        _mask,
    ]
    last: Any = structlog.processors.JSONRenderer(ensure_ascii=False)
    if style == "console":
        last = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.name = f"rota {style}"
    if style == "json":
        logging.captureWarnings(True)  # Python would print them as it likes
    # What a task says, or what it calls, becomes a line of its run, for those who may read that; ours are told here.
    handler.addFilter(lambda record: _of_rota(record.name) or not about())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last]
        )
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers[:] = [one for one in root.handlers if not (one.name or "").startswith("rota ")] + [handler]
    set_level(level)


def _structlog() -> Any:
    """The library without Rich, which it would load for tracebacks that are not used here: 5 MB of every process."""
    with_rich = "rich" in sys.modules
    if not with_rich:
        sys.modules["rich"] = None  # type: ignore[assignment]  # how an import is made to fail
    try:
        import structlog
    finally:
        if not with_rich:
            del sys.modules["rich"]
    return structlog


def set_level(level: str) -> None:
    """How much is told; other libraries than Rota speak from `warning` on, unless `debug` is asked for."""
    number = logging.getLevelNamesMapping()[{"warn": "warning"}.get(level, level).upper()]
    logging.getLogger("rota").setLevel(number)
    logging.getLogger("grpc").setLevel(logging.WARNING)  # it tells of every step of the loop
    logging.getLogger().setLevel(number if number <= logging.DEBUG else max(number, logging.WARNING))


def speak_json() -> bool:
    """Whether log lines are JSON, so that whatever else would stand beside them has to be such a line as well."""
    return any(handler.name == "rota json" for handler in logging.getLogger().handlers)


def _of_rota(logger: str) -> bool:
    return f"{logger}.".startswith("rota.") and not f"{logger}.".startswith("rota.task.")


def _mask(_: Any, __: str, event: "EventDict") -> "EventDict":
    """Values under a telling name go whole; of all others what looks like a secret. One line stays one line."""
    for name, value in event.items():
        if name.startswith("_") or isinstance(value, int | float | None):
            continue
        text = HIDDEN if value and SECRET_NAMES.search(name) else masked(str(value)[:LONGEST])
        event[name] = text if name == "exception" else CONTROLS.sub(lambda found: repr(found[0])[1:-1], text)
    return event

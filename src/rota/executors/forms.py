"""The forms of commands and params, kind by kind: what is wrong with a task as such is told where it is defined.

Only what no worker could run is refused: which files, hosts and handlers there are, each worker knows for itself.
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from rota.domain.errors import Invalid
from rota.domain.task import Task
from rota.executors.outcomes import Texts
from rota.ports.executor import Forms

if TYPE_CHECKING:
    from yarl import URL

VARIABLE_LIMIT = 65_536
"""Characters of one value; what is longer belongs on standard input."""
VARIABLES = Texts(
    field="env",
    name=re.compile(r"[A-Za-z_][A-Za-z0-9_]*"),
    # Names through which a value becomes code (reliability: attack 38).
    reserved=re.compile(
        r"(LD_|DYLD_|GCONV_|PYTHON|PERL5|RUBY|NODE_|BASH_|ROTA_|GIT_|JAVA_TOOL_|JDK_JAVA_|GLIBC_).*"
        r"|PATH|ENV|IFS|CDPATH|SHELLOPTS|PS4|PERLLIB|CLASSPATH|_JAVA_OPTIONS",
        re.IGNORECASE,
    ),
    value=re.compile(rf"[^\0\ud800-\udfff]{{0,{VARIABLE_LIMIT}}}"),
    rule="letters, digits and _, no name that decides what code is run; Unicode without NUL, not over 64 Ki characters",
)
METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
HEADERS = Texts(
    field="headers",
    name=re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"),
    reserved=re.compile(
        r"accept-encoding|connection|content-length|expect|host|idempotency-key|keep-alive|proxy-.*|te|trailer"
        r"|transfer-encoding|upgrade|x-rota-.*",
        re.IGNORECASE,
    ),
    value=re.compile(r"[\t\x20-\x7e\x80-\xff]*"),
    rule="one line of Latin-1, and no header that Rota or the connection sets",
)
HOST = re.compile(r"[0-9a-z._-]{1,253}|[0-9a-f:.]{2,45}", re.IGNORECASE)
CODES = re.compile(r"([1-5]\d\d)(?:-([1-5]\d\d))?")
CALL = re.compile(
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]{1,253}):(?P<port>[0-9]{1,5})"
    r"/(?P<service>[A-Za-z_][A-Za-z0-9_.]*)/(?P<method>[A-Za-z_][A-Za-z0-9_]*)"
)
METADATA = Texts(
    field="metadata",
    name=re.compile(r"[0-9a-z_.-]+"),
    reserved=re.compile(r"grpc-.*|x-rota-.*|idempotency-key|.*-bin|te|content-type|user-agent"),
    value=re.compile(r"[\x20-\x7e]*"),
    rule="names of a-z, 0-9 and _ . -, save those of Rota and of gRPC; printable ASCII",
)


class Request(NamedTuple):
    """The HTTP request that a task asks for."""

    method: str
    url: "URL"
    headers: Mapping[str, str]
    success: frozenset[int]
    """Statuses that the task calls so."""
    body: bytes = b""


class Target(NamedTuple):
    """The gRPC method that a task calls."""

    host: str
    port: int
    service: str
    method: str
    tls: bool


def http(task: Task) -> Request:
    """What an `http` task asks for. Raises `Invalid`."""
    _only(task, "method", "headers", "success")
    method = str(task.params.get("method", "POST")).upper()
    if method not in METHODS:
        raise Invalid("params.method", f"{method[:30]!r} is none of {', '.join(sorted(METHODS))}")
    success = task.params.get("success")
    codes = _codes("200-299" if success in (None, []) else success)
    return Request(method, _url(task.command), HEADERS.of(task), codes)


def _url(command: str) -> "URL":
    """A URL that a request can go to. Raises `Invalid`."""
    from yarl import URL

    try:
        url = URL(command)
    except ValueError as error:
        raise Invalid("command", f"{command[:60]!r} is no URL: {error}") from None
    return checked_url("command", url)


def checked_url(field: str, url: "URL") -> "URL":
    """`url` if a request can go there, else `Invalid`."""
    if url.scheme not in ("http", "https"):
        raise Invalid(
            field,
            f"{url.scheme[:30] or 'no scheme'!r} is not http or https; write a URL such as https://example.org/hook",
        )
    if not HOST.fullmatch(url.raw_host or ""):
        raise Invalid(field, f"{(url.raw_host or '')[:60]!r} is no host name or address")
    if url.user is not None or url.password is not None:
        raise Invalid(field, "a URL with user or password is refused: put credentials into params.headers")
    return url


def _codes(given: Any) -> frozenset[int]:
    """Status codes that mean success: numbers and ranges ("200-299"), one or a list. Raises `Invalid`."""
    found: set[int] = set()
    for part in given if isinstance(given, list | tuple) else [given]:
        codes = CODES.fullmatch(str(part))
        if not codes:
            raise Invalid("params.success", f'{part!r} is no status: use numbers and ranges such as "200-299"')
        found.update(range(int(codes[1]), int(codes[2] or codes[1]) + 1))
    return frozenset(found)


def grpc(task: Task) -> Target:
    """What a `grpc` task calls. Raises `Invalid`."""
    _only(task, "tls", "metadata")
    METADATA.of(task)
    found, tls = CALL.fullmatch(task.command), task.params.get("tls", False)
    if not found or not 0 < int(found["port"]) < 65_536:
        raise Invalid("command", f"{task.command[:200]!r} is not of the form host:port/package.Service/Method")
    if not isinstance(tls, bool):
        raise Invalid("params.tls", f"{tls!r:.30} is not true or false")
    return Target(found["host"], int(found["port"]), found["service"], found["method"], tls)


def script(task: Task) -> None:
    """Raises `Invalid` for what can be no script of any worker."""
    _only(task, "env")
    VARIABLES.of(task)
    shown, parts = repr(task.command[:200]), task.command.split("/")
    if not task.command.endswith(".py") or "\0" in task.command:
        raise Invalid("command", f"{shown} is no script: name a .py file below the scripts folder")
    if not parts[0] or ".." in parts:
        raise Invalid("command", f"{shown} is not below the scripts folder; name it from there, such as reports/day.py")


def shell(task: Task) -> None:
    """Raises `Invalid` for what is no command line."""
    _only(task, "env")
    VARIABLES.of(task)
    if not task.command.strip() or "\0" in task.command:
        raise Invalid("command", "a command line is wanted, without NUL")


def _only(task: Task, *names: str) -> None:
    for name in task.params:
        if name not in names:
            raise Invalid(f"params.{name[:60]}", f"is none that {task.executor} has; choose from {', '.join(names)}")


FORMS: Forms = {"http": http, "grpc": grpc, "script": script, "shell": shell}
"""Other kinds take any command and params."""

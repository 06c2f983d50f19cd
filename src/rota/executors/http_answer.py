"""What an answer means: read within limits, whatever its sender intends, and turned into an outcome."""

import zlib
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from rota.domain.flow import storable
from rota.domain.records import VALUE_LIMIT
from rota.domain.run import End, Outcome
from rota.executors.http_request import Request
from rota.executors.outcomes import NOT_JSON, failure

if TYPE_CHECKING:
    from aiohttp import ClientResponse

BODY_LIMIT = VALUE_LIMIT - 1_024
"""Bytes of a body that are kept, so that the result around it stays within its own limit."""
DELAY_LIMIT_MS = 86_400_000
"""The longest Retry-After that is honoured: a day."""
QUOTED = 500
AUTOMATIC = 47
"""zlib: take a gzip or a zlib header, whichever is there."""


class Answer(NamedTuple):
    """An answer as read. `cut`: the body was longer than what is kept, or its compression broken."""

    status: int
    headers: Any
    """Case-insensitive mapping."""
    body: bytes
    cut: bool
    charset: str

    @property
    def text(self) -> str:
        """The body as text, with marks in place of what its charset cannot read."""
        try:
            text = self.body.decode(self.charset, "replace")
        except (LookupError, ValueError):
            text = self.body.decode("utf-8", "replace")
        return storable(text)


async def read(response: "ClientResponse") -> Answer:
    """The answer, its body up to the limit, before and after decompression."""
    packed = response.headers.get("Content-Encoding", "").strip().lower() in ("gzip", "x-gzip", "deflate")
    unpack = zlib.decompressobj(AUTOMATIC) if packed else None
    body, taken, cut = bytearray(), 0, False
    async for chunk in response.content.iter_any():
        taken += len(chunk)
        room = BODY_LIMIT + 1 - len(body)
        try:
            body += unpack.decompress(chunk, room) if unpack else chunk[:room]
        except zlib.error:
            cut = True
        cut = cut or len(body) > BODY_LIMIT or taken > BODY_LIMIT
        if cut:
            break
    return Answer(response.status, response.headers, bytes(body[:BODY_LIMIT]), cut, response.charset or "utf-8")


def outcome_of_answer(request: Request, answer: Answer) -> Outcome:
    """Success where the task says so; what the server may do better later is tried again, all else is final."""
    if request.succeeds(answer.status):
        return Outcome(End.SUCCESS, result(answer))
    again = answer.status >= 500 or answer.status == 429
    return failure(
        f"HTTP {answer.status} from {request.shown}: {answer.text[:QUOTED]}",
        final=not again,
        delay_ms=retry_after(answer) if again else 0,
        name=f"HTTP{answer.status}",
    )


def result(answer: Answer) -> bytes:
    """`{"status": …, "body": …}`, the body as JSON where it is, as text otherwise; `truncated` where it was cut."""
    fields: dict[str, Any] = {"status": answer.status}
    if answer.cut:
        fields["truncated"] = True
    if not answer.cut and _is_json(answer):
        return msgspec.json.encode({**fields, "body": msgspec.Raw(answer.body)})
    text = answer.text
    # Escapes can make JSON several times as long as the text.
    while len(encoded := msgspec.json.encode({**fields, "body": text})) > VALUE_LIMIT:
        text, fields["truncated"] = text[: len(text) // 2], True
    return encoded


def retry_after(answer: Answer) -> int:
    """How long the server asks to wait, in ms; a date counts from the server's own one, so no clocks are compared."""
    value = answer.headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return min(int(value[:9]) * 1000, DELAY_LIMIT_MS)
    try:
        gap = parsedate_to_datetime(value) - parsedate_to_datetime(answer.headers.get("Date", ""))
        return min(max(0, round(gap.total_seconds() * 1000)), DELAY_LIMIT_MS)
    except (TypeError, ValueError):
        return 0


def _is_json(answer: Answer) -> bool:
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        return False
    try:
        msgspec.json.decode(answer.body)
    except NOT_JSON:
        return False
    return True

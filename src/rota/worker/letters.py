"""Letters: messages of a worker and its scheduler by ways that others can read and write, such as a broker.

Each bears the signature (HMAC-SHA256) of the worker's credential, of which both sides know the digest and neither sends
the secret; a question says whom it is for and until when, so that it can be repeated neither later nor elsewhere, and
an answer which question it is of.
"""

import hmac
from hashlib import sha256
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta, Struct

from rota.domain.errors import Invalid
from rota.identity import keys
from rota.worker.wire import Id, Instant, Name

Key = Annotated[str, Meta(pattern=r"\A[0-9a-f]{16}\Z")]
Call = Annotated[str, Meta(pattern=r"\A[a-z]{1,20}\Z")]
MOST_AHEAD_MS = 120_000
"""No question is for longer: so long its id has to be remembered by who may be asked twice."""


def read_key(token: str) -> tuple[str, str]:
    """Public part and digest of a worker's key, by which it signs. Raises `Invalid`."""
    kind, public, digest = keys.read(token) or ("", "", "")
    if kind != "key":
        missing = "is no key of a worker" if token else "is missing"
        raise Invalid("token", f"{missing}; `rota tokens add NAME --grant worker` makes one; give it by ROTA_TOKEN")
    return public, digest


class Question(Struct, frozen=True, tag="question", tag_field="kind"):
    """The head of a letter that wants an answer. Instants are of the scheduler's clock."""

    id: Id
    key: Key
    """Public part of the credential that signs it."""
    to: Name
    """Inbox or session that it is for."""
    reply: Name
    """Inbox for the answer."""
    call: Call
    until: Instant


class Answer(Struct, frozen=True, tag="answer", tag_field="kind"):
    """The head of an answer: which question it is of, how it went as in HTTP, and the scheduler's clock."""

    id: Id
    status: Annotated[int, Meta(ge=100, le=599)]
    at: Instant


Head = Question | Answer
_decoder: msgspec.json.Decoder[Head] = msgspec.json.Decoder(Head)
_write = msgspec.json.Encoder().encode


class Letter(NamedTuple):
    """A message as it travels."""

    signature: bytes
    head: bytes
    body: bytes

    def joined(self) -> bytes:
        """In one piece."""
        return b"\n".join(self)

    def bears(self, digest: str) -> bool:
        """Whether the credential of that digest has signed it."""
        return hmac.compare_digest(self.signature, _signature(digest, self.head, self.body))


def sealed(head: Head, body: bytes, digest: str) -> Letter:
    """A letter, signed by the credential of that digest."""
    written = _write(head)
    return Letter(_signature(digest, written, body), written, body)


def parted(data: bytes) -> Letter:
    """The parts of a letter that came in one piece. Raises `Invalid`."""
    parts = data.split(b"\n", 2)
    if len(parts) != 3:
        raise Invalid("letter", "has no signature, head and body")
    return Letter(*parts)


def head_of(letter: Letter) -> Head:
    """What it says of itself, to be believed only if it `bears` the right signature. Raises `Invalid`."""
    try:
        return _decoder.decode(letter.head)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise Invalid("head", str(error)[:200]) from None


def _signature(digest: str, head: bytes, body: bytes) -> bytes:
    return hmac.new(digest.encode(), head + b"\n" + body, sha256).hexdigest().encode()

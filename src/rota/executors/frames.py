"""What a worker and its child interpreter say to each other: length, then JSON, over a socket of their own."""

import struct

import msgspec

from rota.domain.run import Outcome
from rota.ports.desk import Assignment

HEAD = struct.Struct("!I")
FRAME_LIMIT = 4 << 20
"""Bytes of one message; twice a payload and a result at their limits leave ample room."""


class Hello(msgspec.Struct, tag="hello"):
    """To the child, once: where the app is, what to find it by, and which log records to pass on."""

    app: str
    path: list[str]
    level: int


class Work(msgspec.Struct, tag="work"):
    """To the child: one attempt."""

    assignment: Assignment
    deadline_at: int | None


class Stop(msgspec.Struct, tag="stop"):
    """To the child: the attempt should end."""


class Ready(msgspec.Struct, tag="ready"):
    """From the child: the app is imported."""


class Broken(msgspec.Struct, tag="broken"):
    """From the child: the app cannot be imported."""

    error: str


class Progress(msgspec.Struct, tag="progress"):
    """From the child: how far the attempt is."""

    text: str


class Line(msgspec.Struct, tag="line"):
    """From the child: a line of its logging."""

    stream: str
    level: str
    text: str


class Done(msgspec.Struct, tag="done"):
    """From the child: the attempt ended, and all its output is in the pipes."""

    outcome: Outcome


ToChild = Hello | Work | Stop
FromChild = Ready | Broken | Progress | Line | Done

to_child = msgspec.json.Decoder(ToChild)
from_child = msgspec.json.Decoder(FromChild)


def packed(message: ToChild | FromChild) -> bytes:
    """A message as bytes, its length in front."""
    data = msgspec.json.encode(message)
    return HEAD.pack(len(data)) + data


def length(head: bytes) -> int:
    """The length that a head announces. Raises `ValueError` for one that no honest peer sends."""
    (size,) = HEAD.unpack(head)
    if size > FRAME_LIMIT:
        raise ValueError(f"a message of {size} bytes")
    return int(size)

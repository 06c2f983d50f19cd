"""Output of a program as lines: bounded in length and number, read without blocking and without waiting for its end.

A grandchild may hold a pipe open for ever; so the end of an attempt is the end of its program, never an end of file.
"""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from typing import IO

from rota.ports.executor import Context

LINE_LIMIT = 16_384
"""Bytes of a line; the rest of it is cut."""
KEEP_LIMIT = 4 << 20
"""Bytes of one stream of one attempt that are told; a flood beyond is read, counted and dropped."""
LINE_COST = 32
"""What a line counts beyond its length, so that a flood of short lines ends as well."""
TAIL_LIMIT = 2_000
CHUNK = 65_536
LAST_READS = 16
"""Reads of what is left once the program has ended; a pipe holds one chunk, the rest would be a grandchild's flood."""


class Lines:
    """Cuts bytes into lines and tells each. `tail` is the end of it all, whatever was dropped."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._rest = b""
        self._cut = 0
        self._room = KEEP_LIMIT
        self._dropped = 0
        self._tail = b""

    @property
    def tail(self) -> str:
        """The last words, for an error's text."""
        return _text(self._tail).strip()

    def feed(self, data: bytes) -> None:
        """Take in the next bytes."""
        self._tail = (self._tail + data[-TAIL_LIMIT:])[-TAIL_LIMIT:]
        if self._room <= 0:
            self._dropped += len(data)
            return
        *whole, rest = (self._rest + data).split(b"\n")
        self._rest = rest[:LINE_LIMIT]
        for line in whole:
            self._line(line)
        # What exceeds an unfinished line is only counted: the next bytes are appended to a line that is full already.
        self._cut += len(rest) - len(self._rest)

    def end(self) -> None:
        """Tell the unfinished line, and how much was dropped; then begin anew."""
        if self._rest:
            self._line(self._rest)
        if self._dropped:
            self._tell(f"… {self._dropped:,} more bytes of output were dropped")
        self._rest, self._cut, self._room, self._dropped, self._tail = b"", 0, KEEP_LIMIT, 0, b""

    def _line(self, line: bytes) -> None:
        over = self._cut + max(0, len(line) - LINE_LIMIT)
        self._cut = 0
        self._room -= len(line) + LINE_COST
        text = _text(line[:LINE_LIMIT]).rstrip("\r")
        self._tell(f"{text} … ({over:,} bytes cut)" if over else text)


class Pipe:
    """One end of a program's output, read as soon as something is there."""

    def __init__(self, stream: IO[bytes], lines: Lines) -> None:
        self._stream, self._lines = stream, lines
        self._loop = asyncio.get_running_loop()
        os.set_blocking(stream.fileno(), False)
        self._loop.add_reader(stream.fileno(), self._read)

    def drain(self) -> None:
        """Read what is there now."""
        for _ in range(LAST_READS):
            if self._stream.closed or not self._read():
                return

    def close(self) -> None:
        """Stop reading; harmless twice."""
        if not self._stream.closed:
            self._loop.remove_reader(self._stream.fileno())
            self._stream.close()

    def _read(self) -> bool:
        with suppress(BlockingIOError):
            data = os.read(self._stream.fileno(), CHUNK)
            if data:
                self._lines.feed(data)
                return True
            self.close()
        return False


class Output:
    """Standard output and standard error of a program, told to the context of the attempt that it works for."""

    def __init__(self, stdout: IO[bytes], stderr: IO[bytes]) -> None:
        self._context: Context | None = None
        self._lines = (Lines(self._teller("stdout")), Lines(self._teller("stderr")))
        self._pipes = (Pipe(stdout, self._lines[0]), Pipe(stderr, self._lines[1]))

    def attach(self, context: Context) -> None:
        """From now on the output belongs to this attempt."""
        self._context = context

    def detach(self) -> str:
        """All that was written until now is told; what comes later belongs to nobody. The last words, errors first."""
        for pipe in self._pipes:
            pipe.drain()
        last = self._lines[1].tail or self._lines[0].tail
        for lines in self._lines:
            lines.end()
        self._context = None
        return last

    def close(self) -> None:
        """Let go of the pipes; harmless twice."""
        for pipe in self._pipes:
            pipe.close()

    def _teller(self, stream: str) -> Callable[[str], None]:
        def tell(text: str) -> None:
            if self._context is not None:
                self._context.line(stream, "info", text)

        return tell


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace").replace("\0", "\ufffd")

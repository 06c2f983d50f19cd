"""`EtcdLogs`: captured lines in chunks, one for each run of an append. They go with their run, or after a day.

etcd is no place for much text. So an attempt has room for some, and what it writes beyond that is lost.
"""

from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Sequence
from time import monotonic

import msgspec

from rota.domain.errors import Unavailable
from rota.ports.store import LINES_LIMIT, Line, Sought
from rota.stores.etcd import find
from rota.stores.etcd.client.words import Compare, Found, Put, Range, Txn
from rota.stores.etcd.keys import CEILING, DIGITS, ROOM, behind, rising
from rota.stores.etcd.link import Link, wrapped
from rota.stores.lines import line_fits, line_text

PIECE = 500
"""Lines written at once, so that none is further than that behind the key of its chunk."""
PIECE_BYTES = 500_000
ATTEMPT_LETTERS = 65_536
DAY_S = 86_400
LEASE_S = 900.0
"""How long one lease is given to new lines, so that they go in small lots."""
ATTEMPTS = 10_000
TRIES = 8
CHUNKS = 64
_DECODE = msgspec.json.Decoder(list[tuple[int, Line]]).decode

Numbered = tuple[int, Line]


class EtcdLogs:
    """A `rota.ports.store.Logs`. A position is the number of a line in the whole store."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._lease = 0
        self._lease_until = 0.0
        self._written: OrderedDict[tuple[str, int], int] = OrderedDict()

    async def append(self, lines: Sequence[Line]) -> None:
        texts = [(line, line_text(line)) for line in lines]
        await self._link.at_home(lambda: self._append([pair for pair in texts if self._has_room(pair[0])]))

    async def read(self, run: str, after: int = 0, limit: int = 500, text: str = "") -> tuple[list[Line], int]:
        return await self._link.at_home(lambda: self._read(run, after, limit, text.casefold()))

    async def search(self, sought: Sought, before: int = 0, limit: int = 100) -> tuple[list[Line], int]:
        return await self._link.at_home(lambda: self._search(sought, before, limit))

    def _has_room(self, line: Line) -> bool:
        """Whether the attempt may write on; only its own process counts."""
        attempt = line.run, line.attempt
        used = self._written.pop(attempt, 0) + len(line.text)
        self._written[attempt] = used
        if len(self._written) > ATTEMPTS:
            self._written.popitem(last=False)
        return used <= ATTEMPT_LETTERS or used == len(line.text)

    async def _append(self, texts: list[tuple[Line, str]]) -> None:
        piece: list[tuple[Line, str]] = []
        weight = 0
        for line, text in texts:
            if piece and (len(piece) == PIECE or weight + len(text) > PIECE_BYTES):
                await self._write(piece)
                piece, weight = [], 0
            piece.append((line, text))
            weight += len(text)
        if piece:
            await self._write(piece)

    async def _write(self, piece: list[tuple[Line, str]]) -> None:
        link, key = self._link, self._link.key("logged")
        for _ in range(TRIES):
            if monotonic() > self._lease_until:
                self._lease = await link.client.grant(DAY_S)
                self._lease_until = monotonic() + LEASE_S
            (found,) = await link.ask([Range(key)])
            last, revision = (int(found.items[0].value), found.items[0].modified) if found.items else (0, 0)
            chunks: dict[str, list[str]] = {}
            for number, (line, text) in enumerate(piece, last + 1):
                chunks.setdefault(line.run, []).append(f"[{number},{text}]")
            puts: list[Put] = []
            for run, some in chunks.items():
                puts.append(Put(link.key(f"log/{run}/{rising(last)}"), f"[{','.join(some)}]".encode(), self._lease))
                puts.append(Put(link.key(f"line/{rising(last)}/{run}"), b"", self._lease))
            held = Compare(key, "modified", "=", revision)
            ops = (Put(link.key(ROOM), b""), Put(key, str(last + len(piece)).encode()), *wrapped(puts))
            try:
                if (await link.client.txn(Txn((held,), ops))).succeeded:
                    return
            except Unavailable as error:
                if "lease" not in str(error):
                    raise
                self._lease_until = 0.0
        raise Unavailable(f"{link.place}: too many write lines; these are lost")

    async def _read(self, run: str, after: int, limit: int, text: str) -> tuple[list[Line], int]:
        found: list[Line] = []
        async for number, line in self._onward(run, after):
            if len(found) == limit:
                break
            if text in line.text.casefold():
                found.append(line)
                after = number
        return found, after

    async def _search(self, sought: Sought, before: int, limit: int) -> tuple[list[Line], int]:
        found: list[Line] = []
        looked = 0
        async for number, line in self._backward(sought.run, before):
            looked += 1
            if line_fits(line, sought):
                found.append(line)
            if len(found) == limit or looked == LINES_LIMIT:
                return found, number
        return found, 0

    async def _onward(self, run: str, after: int) -> AsyncIterator[Numbered]:
        """Lines behind a position."""
        index = f"log/{run}/"
        start, end = self._link.key(index + rising(after - PIECE)), behind(self._link.key(index))
        more = True
        while more:
            ((items, _, more, _),) = await self._link.ask([Range(start, end, CHUNKS)])
            for one in _lines(items):
                if one[0] > after:
                    yield one
            start = items[-1].key + b"\0" if more else end

    async def _backward(self, run: str, before: int) -> AsyncIterator[Numbered]:
        """Lines ahead of a position (0: of the end), newest first."""
        index = f"log/{run}/" if run else "line/"
        high = before or CEILING
        while True:
            stop = self._link.key(index + rising(high))
            items = await find.last(self._link, index, (0, high), stop, PIECE)
            if not items:
                return
            for one in reversed(_lines(await self._chunks(run, items))):
                if not before or one[0] < before:
                    yield one
            start = len(self._link.key(index))
            high = int(items[0].key[start : start + DIGITS])

    async def _chunks(self, run: str, named: Sequence[Found]) -> list[Found]:
        """The chunks that lie under these keys; of all runs, those that they name."""
        keys = [item.key for item in named]
        if not run:
            start = len(self._link.key("line/"))
            names = [key[start:].decode() for key in keys]
            keys = [self._link.key(f"log/{name[DIGITS + 1 :]}/{name[:DIGITS]}") for name in names]
        return [item for reply in await self._link.ask([Range(key) for key in keys]) for item in reply.items]


def _lines(chunks: Iterable[Found]) -> list[Numbered]:
    return sorted((one for chunk in chunks for one in _DECODE(chunk.value)), key=lambda one: one[0])

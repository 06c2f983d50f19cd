"""Seal: the audit in a chain of digests, so that whoever changes or removes an entry later is found out.

The leader seals whatever is not sealed yet, a batch at a time, each seal naming its entries and the digest of the seal
before it. The order is that of sealing: entries that come late, or share a millisecond, need no other care. Pruning
empties the oldest seals from their entries; the newest of the emptied ones stays as the anchor of the chain.

What this cannot do: whoever may write to the whole store can make a whole new chain. Note the number and digest that
`rota doctor` prints somewhere else, and compare.
"""

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from typing import NamedTuple

import msgspec

from rota.domain.names import number_of
from rota.domain.records import Audit, Seal
from rota.engine.engine import Engine, applied, walk
from rota.ports.store import Change, Group, Term, Versioned, Where

STEP = 500
"""Entries of one seal."""
ANCHORS = 20
"""Seals that one step of pruning empties."""
PAGE = 20
"""Seals held at once in a look at all of them, each with the ids of up to STEP entries."""
SEALED = ("id", "at", "actor", "action", "target", "before", "after", "origin")
"""What a digest is made of, in this order."""


class Chain(NamedTuple):
    """What a look at the whole chain found."""

    entries: int
    seals: int
    head: str
    """Number and digest of the newest seal; empty where there is none."""
    begins_at: int | None
    """Entries sealed up to then were pruned; None: nothing was."""
    open: int
    """Entries not sealed yet."""
    faults: tuple[str, ...]


async def seal(engine: Engine, term: Term) -> bool:
    """Seal one batch; whether there may be more. The seal is written first, then its entries are marked: a crash in
    between leaves entries that the last seal already names, and the next step only marks them.
    """
    found = (await engine.store.find(Audit, Where(open=True), "", STEP, oldest=True)).items
    if not found:
        return False
    newest = (await engine.store.find(Seal, limit=1)).items
    last = newest[0].record if newest else None
    if last:
        named = [held for held in await engine.store.get(Audit, list(last.entries)) if held]
        await _mark(engine, [held for held in named if held.record.sealed_at is None], last, term)
        found = tuple(held for held in found if held.record.id not in set(last.entries))
    if found:
        made = _sealed([held.record for held in found], last, engine.clock.now())
        if applied(await engine.commit_one(Group((Change(None, made),)), term)):
            await _mark(engine, found, made, term)
    return len(found) == STEP


async def verify(engine: Engine) -> Chain:
    """Look at every seal and every entry that one names."""
    # Counted first: of what the leader seals meanwhile there may be more seals than marks, never fewer.
    marked = sum((await engine.store.count(Audit, "actor", Where(open=False))).values())
    faults: list[str] = []
    former: Seal | None = None
    begins_at: int | None = None
    entries = seals = 0
    async for one, _ in walk(engine, Seal, oldest=True, size=PAGE):
        anchored = former is None and not one.entries
        begins_at = one.at if anchored else begins_at
        if one.digest != _digest(one):
            faults.append(f"seal {int(one.id)} was changed")
        follows = former and int(one.id) == int(former.id) + 1 and one.former == former.digest
        if not (follows if former else anchored or int(one.id) == 1):
            faults.append(f"seal {int(one.id)} does not follow the one before it: seals were removed or put in")
        faults += [] if anchored else await _faults(engine, one)
        entries, seals, former = entries + len(one.entries), seals + 1, one
    pruned = sum((await engine.store.count(Audit, "actor", Where(ended_until=(begins_at or -1) + 1))).values())
    waiting = sum((await engine.store.count(Audit, "actor", Where(open=True))).values())
    if marked - pruned > entries:
        faults.append(f"no seal names {number_of(marked - pruned - entries, 'entry')} marked as sealed")
    head = f"{int(former.id)}:{former.digest}" if former else ""
    return Chain(entries, seals, head, begins_at, waiting, tuple(faults))


async def move_anchor(engine: Engine, until: int, term: Term) -> int:
    """Empty the seals made before `until` (ms since the epoch), a few a step; the instant up to which all are."""
    anchor: Versioned[Seal] | None = None
    for held in (await engine.store.find(Seal, Where(until=until), "", ANCHORS, oldest=True)).items:
        if held.record.entries:
            emptied = Change(held, replace(held.record, entries=()))
            group = Group((emptied, Change(anchor, None)) if anchor else (emptied,))
            if not applied(await engine.commit_one(group, term)):
                break
        anchor = (await engine.store.get(Seal, [held.record.id]))[0]
    return anchor.record.at if anchor else -1


async def _mark(engine: Engine, found: Sequence[Versioned[Audit]], seal: Seal, term: Term) -> None:
    marked = [Change(held, replace(held.record, sealed_at=seal.at)) for held in found]
    await engine.commit([Group((change,)) for change in marked], term)


async def _faults(engine: Engine, seal: Seal) -> list[str]:
    found = await engine.store.get(Audit, list(seal.entries))
    if missing := [name for name, held in zip(seal.entries, found, strict=True) if held is None]:
        now = (await engine.store.get(Seal, [seal.id]))[0]
        if now is None or not now.record.entries:
            return []  # pruned since the seals were read
        return [f"seal {int(seal.id)}: {number_of(len(missing), 'entry')} of it removed, first {missing[0]}"]
    if _root([held.record for held in found if held]) != seal.root:
        return [f"seal {int(seal.id)}: one of its {len(found)} entries was changed"]
    return []


def _sealed(entries: Sequence[Audit], last: Seal | None, now: int) -> Seal:
    number = int(last.id) + 1 if last else 1
    at = max(now, last.at + 1) if last else now
    names = tuple(entry.id for entry in entries)
    made = Seal(f"{number:012d}", at, names, _root(entries), last.digest if last else "", "")
    return replace(made, digest=_digest(made))


def _root(entries: Sequence[Audit]) -> str:
    plain = [[getattr(entry, name) for name in SEALED] for entry in entries]
    return sha256(msgspec.json.encode(plain)).hexdigest()


def _digest(seal: Seal) -> str:
    return sha256(msgspec.json.encode([seal.id, seal.at, seal.root, seal.former])).hexdigest()

"""`commit`: each group a nested transaction, which applies if all of its records are as they were read."""

from collections.abc import Sequence
from itertools import count
from secrets import token_hex
from time import monotonic, time_ns
from typing import Any

from rota.domain.records import Tally
from rota.domain.run import Run
from rota.ports.store import APPLIED, Change, Group, Guard, Result, Versioned
from rota.stores import codec
from rota.stores.codec import identity
from rota.stores.etcd.client.words import Compare, Delete, Found, Op, Put, Range, Ranged, Txn
from rota.stores.etcd.keys import behind, guarded, kept_with, places, record_key
from rota.stores.etcd.link import Link, wrapped
from rota.stores.kinds import Key, check_groups, key_of, verdict

MARKED_S = 60.0
"""How long a lane is believed to be marked: a cluster may be wiped, or restored to what it was before."""
_NAME = token_hex(4)
_NUMBERS = count()


def read(kind: type, found: Ranged) -> Versioned[Any] | None:
    """The record under a key; of a counter the sum of what was added. Raises `Incompatible`."""
    if not found.items:
        return None
    if kind is not Tally:
        item = found.items[0]
        return Versioned(codec.decode(kind, item.value), item.modified)
    return _total(found.items)


def asked(link: Link, kind: type, of: str) -> Range:
    """What asks for a record."""
    name = record_key(kind, of)
    return link.all_of(name) if kind is Tally else Range(link.key(name))


async def commit(link: Link, groups: Sequence[Group], guard: Guard, say: Put | None) -> list[Result]:
    """Raises `Stale`, `Invalid` and `Unclear`, as the port says."""
    keys = [[key_of(change) for change in group.changes] for group in groups]
    check_groups(groups, [key for some in keys for key in some])
    children = [_child(link, group, some) for group, some in zip(groups, keys, strict=True)]
    if not groups and guard is None and say is None:
        return []
    await _mark(link, groups)
    sent = await link.send(children, guarded(guard, link.prefix), say)
    results: list[Result] = []
    for group, some, (done, _) in zip(groups, keys, sent, strict=True):
        if done.succeeded:
            results.append(APPLIED)
        else:
            replies: Any = done.replies
            held = [read(kind, reply) for (kind, _), reply in zip(some, replies, strict=True)]
            results.append(verdict(group.changes, held))
    return results


def group_of(link: Link, change: Change) -> tuple[list[Compare], list[Op]]:
    """What must hold for a change, and what it writes. Raises `Invalid`."""
    was, now = change
    kind, of = key_of(change)
    data = b"" if now is None else codec.encode(now, was and was.record)
    key = link.key(record_key(kind, of))
    ops: list[Op] = []
    if kind is Tally:
        end = behind(key)
        fresh = Compare(key, "created", "=", 0, end)
        compares = [fresh if was is None else Compare(key, "modified", "<", was.version + 1, end)]
        ops.append(Delete(key + b"\0" if now else key, end))
    elif was is None:
        compares = [Compare(key, "created", "=", 0)]
    else:
        compares = [Compare(key, "modified", "=", was.version)]
    if now is not None:
        ops.append(Put(key, data))
    elif kind is not Tally:
        ops.append(Delete(key))
    before = {} if was is None else places(was.record)
    after = {} if now is None else places(now)
    ops += [Delete(link.key(name)) for name in before if name not in after]
    ops += [Put(link.key(name), value.encode()) for name, value in after.items() if before.get(name) != value]
    if kind is Run and now is None:
        ops += [Delete(start, behind(start)) for start in map(link.key, kept_with(of))]
    return compares, ops


def _child(link: Link, group: Group, keys: Sequence[Key]) -> Txn:
    compares: list[Compare] = []
    ops: list[Op] = []
    for change in group.changes:
        some, more = group_of(link, change)
        compares += some
        ops += more
    if group.tally is not None:
        ops.append(_added(link, group.tally))
    return Txn(tuple(compares), wrapped(ops), tuple(asked(link, *key) for key in keys))


def _added(link: Link, tally: Tally) -> Put:
    """What a group adds to a counter, under a key of its own: the oldest first, as `gathered` wants it."""
    name = f"{time_ns() // 1_000_000:015d}-{_NAME}-{next(_NUMBERS)}"
    return Put(link.key(record_key(Tally, identity(tally)) + name), codec.encode(tally))


async def _mark(link: Link, groups: Sequence[Group]) -> None:
    """Let all lanes of runs be known, ahead of the runs themselves: who looks by namespace looks there."""
    runs = [now for group in groups for _, now in group.changes if type(now) is Run]
    now = monotonic()
    if new := {run.lane for run in runs if link.lanes.get(run.lane, -MARKED_S) + MARKED_S <= now}:
        await link.send([Txn((), (Put(link.key(f"lane/{lane}"), b""),)) for lane in sorted(new)])
        link.lanes |= dict.fromkeys(new, now)


def gathered(key: bytes, items: Sequence[Found], until: bytes) -> Txn | None:
    """What puts the parts of a counter that are named before `until` together, unless somebody adds to them."""
    some = [item for item in items if item.key < until]
    if len(some) < 2:
        return None
    total, newest = _total(some)
    held = Compare(key, "modified", "<", newest + 1, until), Compare(some[-1].key, "created", ">", 0)
    return Txn(held, (Put(key, codec.encode(total)), Delete(key + b"\0", until)))


def _total(parts: Sequence[Found]) -> Versioned[Tally]:
    """What the parts of a counter come to; the newest of them is its version."""
    cells = [codec.decode(Tally, one.value) for one in parts]
    total = cells[0]._replace(count=sum(one.count for one in cells), total_ms=sum(one.total_ms for one in cells))
    return Versioned(total, max(one.modified for one in parts))

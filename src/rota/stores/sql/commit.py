"""`commit`: groups of changes, compared and set in one transaction, each group for itself."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from rota.domain.errors import Invalid, Stale
from rota.domain.records import Tally
from rota.ports.store import (
    ALREADY,
    APPLIED,
    GROUP_LIMIT,
    Change,
    Conflict,
    Group,
    Guard,
    Open,
    Result,
    Term,
    Versioned,
)
from rota.stores.codec import identity
from rota.stores.sql import core, statements
from rota.stores.sql.db import Db
from rota.stores.sql.rows import KINDS, Row, check
from rota.stores.sql.writes import Writes

Key = tuple[type, str]


class Plan(NamedTuple):
    """The groups of one call, made ready outside of the transaction."""

    groups: Sequence[Group]
    keys: list[list[Key]]
    """What each change of each group is about."""
    writes: Writes
    cells: list[Row | None]
    """The counter of each group."""


def plan(groups: Sequence[Group]) -> Plan:
    """Everything that can be known without the database. Raises `Invalid` that names the id of what is at fault."""
    writes = Writes()
    keys = [_gathered(writes, owner, group) for owner, group in enumerate(groups)]
    _disjoint(keys)
    writes.check()
    cells = [group.tally and KINDS[Tally].row(group.tally) for group in groups]
    counted = [cell for cell in cells if cell]
    check(counted, [cell[0] for cell in counted])
    return Plan(groups, keys, writes, cells)


def _gathered(writes: Writes, owner: int, group: Group) -> list[Key]:
    if len(group.changes) > GROUP_LIMIT:
        raise Invalid("groups", f"{len(group.changes)} changes in one group; at most {GROUP_LIMIT} happen together")
    keys: list[Key] = []
    for was, now in group.changes:
        record = was.record if was is not None else now
        kind, key = type(record), identity(record)
        if now is None:
            writes.remove(owner, key, kind)
        elif was is None:
            writes.add(owner, key, now)
        elif type(now) is kind and identity(now) == key:
            writes.change(owner, key, record, now)
        else:
            raise Invalid(key, "a change keeps the kind and the id; delete the one and add the other instead")
        keys.append((kind, key))
    return keys


def _disjoint(keys: list[list[Key]]) -> None:
    seen: set[Key] = set()
    for key in (key for group in keys for key in group):
        if key in seen:
            raise Invalid(key[1], "is changed twice in one call; the groups of one call share no keys")
        seen.add(key)


def commit(db: Db, ready: Plan, guard: Guard) -> list[Result]:
    """Apply the groups of which all is as they say. Raises `Stale`."""
    _check(db, guard)
    held = _versions(db, ready.keys)
    applies = {
        owner
        for owner, (group, keys) in enumerate(zip(ready.groups, ready.keys, strict=True))
        if all(held.get(key) == (was and was.version) for key, (was, _) in zip(keys, group.changes, strict=True))
    }
    others = _others(db, ready, applies)
    ready.writes.flush(db, applies)
    _count(db, [cell for owner, cell in enumerate(ready.cells) if cell and owner in applies])
    return [others.get(owner, APPLIED) for owner in range(len(ready.groups))]


def _check(db: Db, guard: Guard) -> None:
    if isinstance(guard, Term):
        found = db.rows(statements.term(db.flavour), (guard.name,))
        if not found or found[0][0] != guard.number:
            raise Stale(f"term {guard.number} of {guard.name} is over; nothing was written")
    elif isinstance(guard, Open) and not core.opened(db, [guard.session]):
        raise Stale(f"session {guard.session} is not open; nothing was written")


def _by_kind(keys: Iterable[Key]) -> dict[type, list[str]]:
    found: dict[type, list[str]] = {}
    for kind, key in keys:
        found.setdefault(kind, []).append(key)
    return found


def _versions(db: Db, keys: list[list[Key]]) -> dict[Key, int]:
    return {
        (kind, key): version
        for kind, ids in _by_kind(key for group in keys for key in group).items()
        for key, version in db.rows_among(statements.versions(db.flavour, KINDS[kind].table), sorted(ids))
    }


def _others(db: Db, ready: Plan, applies: set[int]) -> dict[int, Result]:
    """What the groups that do not apply are told, from what the store holds before anything is written."""
    refused = [owner for owner in range(len(ready.groups)) if owner not in applies]
    current: dict[Key, Versioned[Any] | None] = {}
    for kind, ids in _by_kind(key for owner in refused for key in ready.keys[owner]).items():
        current |= {(kind, key): found for key, found in zip(ids, core.get(db, kind, ids), strict=True)}
    return {
        owner: _verdict(ready.groups[owner].changes, tuple(current[key] for key in ready.keys[owner]))
        for owner in refused
    }


def _verdict(changes: Sequence[Change], current: tuple[Versioned[Any] | None, ...]) -> Result:
    if all(now == (held and held.record) for (_, now), held in zip(changes, current, strict=True)):
        return ALREADY
    return Conflict(current)


def _count(db: Db, cells: Sequence[Row]) -> None:
    """Add up the counters of all groups, so that each cell is written once."""
    totals: dict[Row, tuple[int, int]] = {}
    for cell in cells:
        number, total_ms = totals.get(cell[:-2], (0, 0))
        totals[cell[:-2]] = (number + cell[-2], total_ms + cell[-1])
    if totals:
        rows = [(*cell, *total, db.stamp) for cell, total in sorted(totals.items())]
        db.write_all(statements.count_cell(db.flavour), rows)

"""`commit`: groups of changes, compared and set in one transaction, each group for itself."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

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
from rota.stores.sql.rows import KINDS
from rota.stores.sql.writes import Writes

Held = dict[type, dict[str, int]]
"""Versions by id, of each kind."""


class Plan:
    """The groups of one call, made ready outside of the transaction. Raises `Invalid`."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self.groups = groups
        self.number = sum([len(group.changes) for group in groups])
        self.writes = Writes()
        self.only_changes = True
        self.present: Held = defaultdict(dict)
        """What must be there, with its version."""
        self.absent: dict[type, set[str]] = defaultdict(set)
        """What must not be there."""
        for changes, tally in groups:
            if len(changes) > GROUP_LIMIT:
                raise Invalid("groups", f"{len(changes)} changes in one group; at most {GROUP_LIMIT} fit")
            for was, now in changes:
                self._add(was, now)
            if tally is not None:
                self.writes.count(tally)
        self._check_keys()
        self.writes.check()

    def _add(self, was: Versioned[Any] | None, now: Any) -> None:
        if was is None:
            kind = type(now)
            key = identity(now) if kind is Tally else now.id
            self.only_changes = False
            self.absent[kind].add(key)
            self.writes.add(key, now)
            return
        record, version = was
        kind = type(record)
        key = identity(record) if kind is Tally else record.id
        self.present[kind][key] = version
        if now is None:
            self.only_changes = False
            self.writes.remove(key, kind)
        elif type(now) is kind and (now.id if kind is not Tally else identity(now)) == key:
            self.writes.change(key, record, version, now)
        else:
            raise Invalid(key, "a change keeps kind and id; delete the one record and add the other instead")

    def _check_keys(self) -> None:
        found = sum(map(len, self.present.values())) + sum(map(len, self.absent.values()))
        both = any(
            self.absent[kind] & versions.keys() for kind, versions in self.present.items() if kind in self.absent
        )
        if both or found != self.number:
            raise Invalid("groups", "one record is changed twice in one call; the groups of a call share none")


class Moved(Exception):
    """Some record is no longer what it was, and `commit` must be told to look first."""


def commit(db: Db, plan: Plan, guard: Guard, look: bool = False) -> list[Result]:
    """Apply the groups of which all is as they say. Raises `Stale`.

    Where there are changes only, they are tried at once, each under its version; if one finds nothing, `Moved` is
    raised, which undoes the transaction.
    """
    _check(db, guard)
    if plan.only_changes and db.flavour.counts and not look:
        if plan.writes.flush(db) != plan.number:
            raise Moved
        return [APPLIED] * len(plan.groups)
    held = _held(db, plan)
    if all(held[kind] == plan.present.get(kind, {}) for kind in held):
        plan.writes.flush(db)
        return [APPLIED] * len(plan.groups)
    return _apart(db, plan.groups, held)


def _apart(db: Db, groups: Sequence[Group], held: Held) -> list[Result]:
    """Group by group, where some of them do not apply."""
    applying = [all(_holds(held, was, now) for was, now in group.changes) for group in groups]
    others = _verdicts(db, [group for group, applies in zip(groups, applying, strict=True) if not applies])
    Plan([group for group, applies in zip(groups, applying, strict=True) if applies]).writes.flush(db)
    return [APPLIED if applies else others.pop(0) for applies in applying]


def _check(db: Db, guard: Guard) -> None:
    if isinstance(guard, Term):
        found = db.rows(statements.term(db.flavour), (guard.name,))
        if not found or found[0][0] != guard.number:
            raise Stale(f"term {guard.number} of {guard.name} is over; nothing was written")
    elif isinstance(guard, Open) and not core.opened(db, [guard.session]):
        raise Stale(f"session {guard.session} is not open; nothing was written")


def _held(db: Db, plan: Plan) -> Held:
    """The versions that are there, of all that is to be changed."""
    found: Held = {}
    for kind in {**plan.present, **plan.absent}:
        ids = sorted([*plan.present.get(kind, ()), *plan.absent.get(kind, ())])
        found[kind] = dict(db.rows_among(statements.versions(db.flavour, KINDS[kind].table), ids))
    return found


def _holds(held: Held, was: Versioned[Any] | None, now: Any) -> bool:
    record = now if was is None else was.record
    kind = type(record)
    return held[kind].get(_key(kind, record)) == (was and was.version)


def _verdicts(db: Db, groups: Sequence[Group]) -> list[Result]:
    """What groups that do not apply are told, from what is held before anything is written."""
    wanted: dict[type, set[str]] = defaultdict(set)
    for record in (now if was is None else was.record for group in groups for was, now in group.changes):
        wanted[type(record)].add(_key(type(record), record))
    current = {
        (kind, key): found
        for kind, keys in wanted.items()
        for key, found in zip(keys, core.get(db, kind, list(keys)), strict=True)
    }
    return [_verdict(group.changes, current) for group in groups]


def _verdict(changes: Sequence[Change], current: dict[tuple[type, str], Versioned[Any] | None]) -> Result:
    records = [now if was is None else was.record for was, now in changes]
    held = tuple(current[type(record), _key(type(record), record)] for record in records)
    if all(now == (one and one.record) for (_, now), one in zip(changes, held, strict=True)):
        return ALREADY
    return Conflict(held)


def _key(kind: type, record: Any) -> str:
    return identity(record) if kind is Tally else record.id

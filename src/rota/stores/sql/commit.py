"""`commit`: groups of changes, compared and set in one transaction, each group for itself."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from rota.domain.errors import Invalid, Stale
from rota.domain.run import Run
from rota.ports.store import APPLIED, GROUP_LIMIT, Change, Group, Guard, Open, Result, Term, Versioned
from rota.stores.codec import identity
from rota.stores.kinds import verdict
from rota.stores.sql import core, statements, tables
from rota.stores.sql.db import Db, Moved
from rota.stores.sql.rows import KINDS
from rota.stores.sql.writes import Writes

LINES = 10_000
"""Lines that go in one transaction: whoever waits for it must not wait long."""

Held = dict[type, dict[str, int | None]]
"""Versions by id, of each kind; None where there is nothing."""


class Plan:
    """The groups of one call, made ready outside of the transaction. Raises `Invalid`."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self.groups = groups
        self.number = sum([len(group.changes) for group in groups])
        self.writes = Writes()
        self.wanted: Held = defaultdict(dict)
        """What must be there, and what must not."""
        for changes, tally in groups:
            if len(changes) > GROUP_LIMIT:
                raise Invalid("groups", f"{len(changes)} changes in one group; at most {GROUP_LIMIT} fit")
            for was, now in changes:
                self._add(was, now)
            if tally is not None:
                self.writes.count(tally)
        if sum(map(len, self.wanted.values())) != self.number:
            raise Invalid("groups", "one record is changed twice in one call; the groups of a call share none")
        self.writes.check()

    def _add(self, was: Versioned[Any] | None, now: Any) -> None:
        if was is None:
            kind = type(now)
            key = identity(now)
            self.wanted[kind][key] = None
            self.writes.add(key, now)
            return
        record, version = was
        kind = type(record)
        key = identity(record)
        self.wanted[kind][key] = version
        if now is None:
            self.writes.remove(key, kind, version)
        elif type(now) is kind and identity(now) == key:
            self.writes.change(key, record, version, now)
        else:
            raise Invalid(key, "a change keeps kind and id; delete the one record and add the other instead")


def commit(db: Db, plan: Plan, guard: Guard, look: bool = False) -> list[Result]:
    """Apply the groups of which all is as they say. Raises `Stale`.

    All of them are tried at once, each change under its version; if one finds nothing, `Moved` is raised, which undoes
    the transaction.
    """
    _check(db, guard)
    others: list[Result] = []
    applying = [True] * len(plan.groups)
    if look:
        held = _held(db, plan)
        applying = [all(_holds(held, was, now) for was, now in group.changes) for group in plan.groups]
        others = _verdicts(db, [group for group, applies in zip(plan.groups, applying, strict=True) if not applies])
        plan = Plan([group for group, applies in zip(plan.groups, applying, strict=True) if applies])
    if plan.writes.flush(db) != plan.number:
        raise Moved
    return [APPLIED if applies else others.pop(0) for applies in applying]


def clear(db: Db, gone: Sequence[tuple[str, int]], guard: Guard) -> Sequence[tuple[str, int]]:
    """Delete some lines of runs that are about to go, if they are of these versions; those that may have more.

    Raises `Stale`.
    """
    _check(db, guard)
    held = _versions(db, Run, [key for key, _ in gone])
    runs = [key for key, version in gone if held.get(key) == version]
    found = db.rows(statements.some_lines(db.flavour), (db.flavour.pack(runs), LINES))
    db.write(statements.remove_all(db.flavour, tables.lines, "id"), (db.flavour.pack([row[1] for row in found]),))
    return [one for one in gone if one[0] >= found[-1][0]] if len(found) == LINES else []


def _check(db: Db, guard: Guard) -> None:
    if isinstance(guard, Term):
        found = db.rows(statements.term(db.flavour, share=True), (guard.name,))
        if not found or found[0][0] != guard.number:
            raise Stale(f"term {guard.number} of {guard.name} is over; nothing was written")
    elif isinstance(guard, Open) and not core.opened(db, [guard.session]):
        raise Stale(f"session {guard.session} is not open; nothing was written")


def _held(db: Db, plan: Plan) -> Held:
    """The versions that are there, of all that is to be changed."""
    found: Held = {}
    for kind, wanted in sorted(plan.wanted.items(), key=lambda one: one[0].__name__):
        found[kind] = _versions(db, kind, wanted)
    return found


def _versions(db: Db, kind: type, ids: Iterable[str]) -> dict[str, int | None]:
    return dict(db.rows_among(statements.versions(db.flavour, KINDS[kind].table), sorted(ids)))


def _holds(held: Held, was: Versioned[Any] | None, now: Any) -> bool:
    record = now if was is None else was.record
    kind = type(record)
    return held[kind].get(identity(record)) == (was and was.version)


def _verdicts(db: Db, groups: Sequence[Group]) -> list[Result]:
    """What groups that do not apply are told, from what is held before anything is written."""
    wanted: dict[type, set[str]] = defaultdict(set)
    for record in (now if was is None else was.record for group in groups for was, now in group.changes):
        wanted[type(record)].add(identity(record))
    current = {
        (kind, key): found
        for kind, keys in wanted.items()
        for key, found in zip(keys, core.get(db, kind, list(keys)), strict=True)
    }
    return [_verdict(group.changes, current) for group in groups]


def _verdict(changes: Sequence[Change], current: dict[tuple[type, str], Versioned[Any] | None]) -> Result:
    records = [now if was is None else was.record for was, now in changes]
    return verdict(changes, [current[type(record), identity(record)] for record in records])

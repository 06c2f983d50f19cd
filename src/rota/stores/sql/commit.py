"""`commit`: groups of changes, compared and set in one transaction, each group for itself."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from rota.domain.errors import Invalid, Stale
from rota.domain.run import Run
from rota.ports.store import APPLIED, Change, Group, Guard, Result, Versioned
from rota.stores.kinds import Key, check_groups, key_of, verdict
from rota.stores.sql import core, statements, tables
from rota.stores.sql.db import Db, Moved
from rota.stores.sql.rows import KINDS
from rota.stores.sql.writes import Writes

LINES = 10_000
"""Lines that go in one transaction: whoever waits for it must not wait long."""


class Plan:
    """The groups of one call, made ready outside of the transaction. Raises `Invalid`."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self.groups = groups
        self.writes = Writes()
        self.keys = [[self._add(change) for change in group.changes] for group in groups]
        """Which records each group changes."""
        keys = [key for some in self.keys for key in some]
        self.number = len(keys)
        check_groups(groups, keys)
        for group in groups:
            if group.tally is not None:
                self.writes.count(group.tally)
        self.writes.check()

    def _add(self, change: Change) -> Key:
        was, now = change
        kind, of = key_of(change)
        try:
            if was is None:
                self.writes.add(now)
            elif now is None:
                self.writes.remove(of, kind, was.version)
            else:
                self.writes.change(of, was.record, was.version, now)
        except (ValueError, TypeError, OverflowError) as error:
            raise error if isinstance(error, Invalid) else Invalid(of, f"cannot be stored: {error}") from None
        return kind, of


def commit(db: Db, plan: Plan, guard: Guard, look: bool = False) -> list[Result]:
    """Apply the groups of which all is as they say. Raises `Stale`.

    All of them are tried at once, each change under its version; if one finds nothing, `Moved` is raised, which undoes
    the transaction.
    """
    _check(db, guard)
    others = _others(db, plan) if look else {}
    results = [others.get(place, APPLIED) for place in range(len(plan.groups))]
    if others:
        plan = Plan([group for place, group in enumerate(plan.groups) if place not in others])
    if plan.writes.flush(db) != plan.number:
        raise Moved
    return results


def clear(db: Db, gone: Sequence[tuple[str, int]], guard: Guard) -> Sequence[tuple[str, int]]:
    """Delete some lines of runs that are about to go, if they are of these versions; those that may have more.

    Raises `Stale`.
    """
    _check(db, guard)
    held = _versions(db, Run, sorted(key for key, _ in gone))
    runs = [key for key, version in gone if held.get(key) == version]
    found = db.rows(statements.some_lines(db.flavour), (db.flavour.pack(runs), LINES))
    db.write(statements.remove_all(db.flavour, tables.lines, "id"), (db.flavour.pack([row[1] for row in found]),))
    return [one for one in gone if one[0] >= found[-1][0]] if len(found) == LINES else []


def _check(db: Db, guard: Guard) -> None:
    if guard:
        found = db.rows(statements.term(db.flavour, share=True), (guard.name,))
        if not found or found[0][0] != guard.number:
            raise Stale(f"term {guard.number} of {guard.name} is over; nothing was written")


def _others(db: Db, plan: Plan) -> dict[int, Result]:
    """By place, what those groups are told that do not apply. What is held stays so until the transaction ends."""
    held: dict[Key, int] = {}
    for kind, ids in _by_kind(plan.keys):
        held |= {(kind, of): version for of, version in _versions(db, kind, ids).items()}
    moved = {
        place: keys
        for place, (keys, group) in enumerate(zip(plan.keys, plan.groups, strict=True))
        if any(held.get(key) != (was and was.version) for key, (was, _) in zip(keys, group.changes, strict=True))
    }
    current: dict[Key, Versioned[Any] | None] = {}
    for kind, ids in _by_kind(moved.values()):
        current |= {(kind, of): found for of, found in zip(ids, core.get(db, kind, ids), strict=True)}
    return {place: verdict(plan.groups[place].changes, [current[key] for key in keys]) for place, keys in moved.items()}


def _by_kind(keys: Iterable[Sequence[Key]]) -> list[tuple[type, list[str]]]:
    """Ids of each kind, all in one order everywhere, so that two who lock the same ones rarely wait for each other."""
    found: dict[type, list[str]] = defaultdict(list)
    for kind, of in (key for some in keys for key in some):
        found[kind].append(of)
    return [(kind, sorted(found[kind])) for kind in sorted(found, key=lambda kind: kind.__name__)]


def _versions(db: Db, kind: type, ids: Sequence[str]) -> dict[str, int]:
    return dict(db.rows_among(statements.versions(db.flavour, KINDS[kind].table), ids))

"""Audit: who changed what. Entries are written in the change's own group."""

import json
from contextvars import ContextVar
from dataclasses import asdict, is_dataclass
from typing import Any

from rota.domain.records import Audit
from rota.domain.task import without_secrets
from rota.engine.engine import Engine
from rota.ports.store import Change

LIMIT = 4_000
origin: ContextVar[str] = ContextVar("origin", default="")
"""Where the request under way comes from: an address; empty outside of requests."""


def audited(engine: Engine, actor: str, action: str, target: str, before: Any = None, after: Any = None) -> Change:
    """The change that records a change. Only fields that differ are kept, as JSON; of credentials that they changed."""
    now = engine.clock.now()
    one, other = _plain(before), _plain(after)
    differing = {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}

    def kept(side: dict[str, Any]) -> str:
        return _text(without_secrets({name: side[name] for name in differing & side.keys()}))

    return Change(None, Audit(engine.new_id(now), now, actor, action, target, kept(one), kept(other), origin.get()))


def _plain(record: Any) -> dict[str, Any]:
    if record is None:
        return {}
    if is_dataclass(record) and not isinstance(record, type):
        return asdict(record)
    return dict(record._asdict()) if hasattr(record, "_asdict") else dict(record)


def _text(fields: dict[str, Any]) -> str:
    if not fields:
        return ""
    text = json.dumps(fields, default=str, ensure_ascii=False, sort_keys=True)
    if len(text) <= LIMIT:
        return text
    room = LIMIT // len(fields) - 50
    return json.dumps({name: str(value)[:room] for name, value in fields.items()}, ensure_ascii=False, sort_keys=True)

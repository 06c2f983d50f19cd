"""The audit: who changed what, from where, and what was refused. It can be read, never changed."""

import json
from typing import Annotated, Any

from fastapi import Query, Response
from pydantic import Field

from rota.api.deps import Admin, Here, Json, Seals, router
from rota.api.paging import Window, listing
from rota.api.schemas import people as said
from rota.api.schemas.texts import Text
from rota.api.schemas.views import page
from rota.api.views import plain
from rota.domain.records import Audit
from rota.engine.seal import verify
from rota.ports.store import Where

routes = router("/api/audit", "audit")


class AuditFilter(Window):
    """Entries of whom, of what kind, about what, from when to when."""

    actor: Text = ""
    action: Text = ""
    target: Annotated[Text, Field(description="A thing such as task:main/report, or the start of one.")] = ""


def row(entry: Audit) -> dict[str, Any]:
    """An entry as JSON. What was too long stays text."""
    before, after = _read(entry.before), _read(entry.after)
    both = isinstance(before, dict) and isinstance(after, dict)
    changed = sorted(before.keys() & after) if both else []
    why = after.get("paused", "") if isinstance(after, dict) else ""
    return {**plain(entry), "why": why, "before": before, "after": after, "changed": changed}


def _read(text: str) -> Any:
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text


@routes.get("", response_model=page(said.AuditView))
async def listed(engine: Here, asked: Admin, cursors: Seals, query: Annotated[AuditFilter, Query()]) -> Response:
    """List entries, newest first."""

    def fits(entry: Audit) -> bool:
        wanted = (query.actor in ("", entry.actor), query.action in ("", entry.action))
        return all(wanted) and entry.target.startswith(query.target)

    where = Where(since=query.since, until=query.until)
    found, after = await listing(engine.store.late, cursors, Audit, where, query, fits)
    return Json({"items": [row(one) for one in found], "next": after})


@routes.get("/chain", response_model=said.ChainView)
async def chain(engine: Here, asked: Admin) -> Response:
    """Verify the chain over all entries: whether any was changed or removed since it was sealed."""
    return Json(plain(await verify(engine)))

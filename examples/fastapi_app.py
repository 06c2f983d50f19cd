"""Rota inside a FastAPI program, which schedules and works while it serves: `uvicorn examples.fastapi_app:api`.

FastAPI and uvicorn are yours to install; Rota does not need them.
"""

from collections import Counter
from typing import Any

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

from rota import NotFound, Rota

rota = Rota(name="fastapi-example")
api = FastAPI(lifespan=rota.lifespan)


class Text(BaseModel):
    """What is to be counted."""

    text: str


@rota.task(name="count_words", retries=2, timeout="1m")
def count_words(text: Text) -> dict[str, int]:
    """Count how often each word comes."""
    return dict(Counter(text.text.lower().split()))


@api.post("/texts", status_code=202)
async def take(text: Text) -> dict[str, str]:
    """Answer at once; the work is done by a worker, of this process or another one."""
    handle = await count_words.asubmit(text)
    return {"run": handle.id}


@api.get("/texts/{run_id}")
async def look(run_id: str) -> dict[str, Any]:
    """The run's state, and the result once there is one."""
    handle = rota.handle(run_id)
    try:
        run = await handle.arun()
    except NotFound as error:
        raise HTTPException(404, str(error)) from error
    result = await handle.aresult() if run.state == "success" else None
    return {"state": run.state, "result": result}

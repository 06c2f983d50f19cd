"""An app for the tests of traces: each task tells the trace that it finds itself in."""

from rota import Retry, Rota
from rota.observe.traces import current

app = Rota("sqlite://", name="traced")


@app.task(name="whole")
async def whole() -> str:
    return current()


@app.task(name="threaded")
def threaded() -> str:
    return current()


@app.task(name="isolated", isolation="process")
def isolated() -> str:
    return current()


@app.task(name="again", retries=Retry(retries=1, delay_ms=10))
def again() -> None:
    raise ValueError("canary")


@app.task(name="more")
async def more() -> str:
    return (await whole.asubmit()).id

"""An app for the tests of the command line: read as text into their folders, imported by the processes they start."""

import time
from pathlib import Path

from rota import Context, Rota

app = Rota(name="jobs", version="1")


@app.task(name="greet", schedule="0 2 * * *", timezone="Europe/Berlin", retries=0)
def greet(name: str = "you") -> str:
    """Greets somebody."""
    print(f"hello {name}")
    return f"hi {name}"


@app.task(name="fails", retries=0)
def fails() -> None:
    raise ValueError("no \x1b[31mgood")


@app.task(name="paints")
def paints() -> None:
    print("\x1b[31mred\x1b[0m [bold]not bold[/bold] \u202eevil 中文")


@app.task(name="waits")
def waits(path: str, context: Context) -> str:
    print("begun")
    while not Path(path).exists() and not context.cancelled:
        time.sleep(0.01)
    print("done")
    return "waited"


@app.task(name="endless")
def endless() -> None:
    print("begun")
    while True:
        time.sleep(0.05)

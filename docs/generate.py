"""Writes the generated parts of the documents: what the code says about itself is never typed twice.

A part stands between `<!-- generated: name -->` and `<!-- end -->`. `make docs` runs this; a test compares.
"""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from zoneinfo import ZoneInfo

from fastapi.routing import APIRoute

from rota.api.app import PARTS as API
from rota.api.deps import May
from rota.domain import errors
from rota.domain.access import ROLES, Action
from rota.domain.facts import RunsClaimed, RunsSettled, RunsSubmitted, SessionChanged, Trouble
from rota.domain.run import TERMINAL, Reason, State
from rota.domain.schedule import SkipReason
from rota.domain.states import TABLE, word
from rota.domain.triggers import Cron, Interval, Trigger
from rota.engine.explain import SKIPS, WORDS
from rota.observe.metrics import GAUGES, Metrics
from rota.testing.factories import make_run

FOLDER = Path(__file__).parent
PART = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
MINUTE_MS = 60_000
START = datetime(2026, 1, 1, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")

MEANS = {
    State.SCHEDULED: "due in the future",
    State.BLOCKED: "waits for an earlier run of its schedule",
    State.PENDING: "ready; a worker may take it",
    State.RUNNING: "an attempt exists; a worker holds it",
    State.RETRYING: "will be tried again at its due time",
    State.SUCCESS: "ended well; its result is kept",
    State.FAILED: "ended without success, for the reason given",
    State.CANCELLED: "ended because somebody, or the task itself, cancelled it",
    State.SKIPPED: "will never run: what it waited for can no longer happen",
}
CRON = {
    "*/15 * * * *": "every quarter of an hour",
    "30 2 * * 1-5": "02:30 from Monday to Friday",
    "0 22-2 * * *": "every full hour from 22:00 to 02:00",
    "0 0 L * *": "the last day of each month",
    "0 9 LW * *": "the last Monday-to-Friday of each month",
    "0 9 15W * *": "the Monday-to-Friday nearest to the 15th",
    "0 18 * * FRI#2": "the second Friday of each month",
    "0 18 * * 5L": "the last Friday of each month",
    "0 12 13 * FRI": "the 13th **or** a Friday",
    "*/20 * * * * *": "six fields, seconds first: every 20 s",
    "@daily": "midnight",
}
DST: dict[str, Trigger] = {
    '"30 2 * * *"': Cron("30 2 * * *", "Europe/Berlin"),
    '"30 2 * * *", gap="skip"': Cron("30 2 * * *", "Europe/Berlin", gap="skip"),
    '"30 2 * * *", fold="both"': Cron("30 2 * * *", "Europe/Berlin", fold="both"),
    '"0 * * * *"': Cron("0 * * * *", "Europe/Berlin"),
    '"*/30 2 * * *"': Cron("*/30 2 * * *", "Europe/Berlin"),
    '"*/30 2 * * *", gap="shift", fold="first"': Cron("*/30 2 * * *", "Europe/Berlin", gap="shift", fold="first"),
    '"every 1h"': Interval(60 * MINUTE_MS),
}


def routes() -> str:
    """Every route of the API, what it does, and what it needs."""
    rows = ["| request | does | needs |", "|---|---|---|"]
    parts = [import_module(f"rota.api.routes.{part}") for part in API if part != "pages"]
    for route in (one for part in parts for one in part.routes.routes if isinstance(one, APIRoute)):
        needs = " ".join(f"`{one.call.action}`" for one in route.dependant.dependencies if isinstance(one.call, May))
        does = route.description.partition("\n")[0]
        rows.append(f"| `{' '.join(sorted(route.methods or ()))} {route.path}` | {does} | {needs or 'nobody'} |")
    return "\n".join(rows)


def states() -> str:
    """Each state, what it means and where it leads."""
    rows = ["| state | means | leaves by |", "|---|---|---|"]
    for state in State:
        leaves = [
            f"{word(event)} → {' or '.join(f'`{after}`' for after in sorted(afters))}"
            for (before, event), afters in TABLE.items()
            if before is state
        ]
        ways = "never" if state in TERMINAL else "; ".join(leaves)
        rows.append(f"| `{state}` | {MEANS[state]} | {ways} |")
    return "\n".join(rows)


def reasons() -> str:
    """The reason codes of runs, as explain words them."""
    rows = [f"| `{reason}` | {_worded(WORDS[reason])} |" for reason in Reason]
    return "\n".join(["| reason | explain says |", "|---|---|", *rows])


def skips() -> str:
    """The reasons of skipped occurrences, as explain words them."""
    rows = [f"| `{reason}` | {SKIPS[reason]} |" for reason in SkipReason]
    return "\n".join(["| reason | the occurrences were skipped because |", "|---|---|", *rows])


def cron() -> str:
    """Expressions, their meaning and their first fires of 2026."""
    rows = ["| expression | means | first fires of 2026, in UTC |", "|---|---|---|"]
    for expression, means in CRON.items():
        fires, moment = [], _ms(START) - 1
        for _ in range(3):
            found = Cron(expression).after(moment)
            if found is None:
                break
            moment = found
            fires.append(f"{datetime.fromtimestamp(moment / 1000, UTC):%d %b %H:%M:%S}".removesuffix(":00"))
        rows.append(f"| `{expression}` | {means} | {', '.join(fires)} |")
    return "\n".join(rows)


def clock_changes() -> str:
    """What schedules in Europe/Berlin do between 01:00 and 04:00 on the days of the clock changes."""
    rows = ["| schedule | 29 March 2026: 02:00 becomes 03:00 | 25 October 2026: 03:00 becomes 02:00 |", "|---|---|---|"]
    for text, trigger in DST.items():
        spring, autumn = (
            _night(trigger, datetime(2026, month, day, tzinfo=BERLIN)) for month, day in [(3, 29), (10, 25)]
        )
        rows.append(f"| `{text}` | {spring} | {autumn} |")
    return "\n".join(rows)


def error_tree() -> str:
    """The tree of errors, with the first sentence that each says of itself."""

    def below(kind: type[Exception], before: str) -> Iterator[str]:
        kinds = [one for one in kind.__subclasses__() if one.__module__ == errors.__name__]
        for one in kinds:
            turn, further = ("└── ", "    ") if one is kinds[-1] else ("├── ", "│   ")
            means = " ".join((one.__doc__ or "").split()).partition(". ")[0].rstrip(".")
            yield f"{before + turn + one.__name__:<24}{means}"
            yield from below(one, before + further)

    return "\n".join(["```text", "RotaError", *below(errors.RotaError, ""), "```"])


def state_drawing() -> str:
    """The table of the state machine as a picture."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for (before, event), states in TABLE.items():
        for after in sorted(states):
            arrows.setdefault((before or "[*]", after), []).append(word(event))
    lines = [f"    {one} --> {other}: {', '.join(events)}" for (one, other), events in arrows.items()]
    lines += [f"    {state} --> [*]" for state in sorted(TERMINAL)]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```"])


def roles() -> str:
    """The roles, and what each may."""
    rows = [f"| `{role}` | {', '.join(f'`{one}`' for one in Action if one in may)} |" for role, may in ROLES.items()]
    return "\n".join(["| role | may |", "|---|---|", *rows])


def metrics() -> str:
    """Every metric, its kind, its labels and what it tells."""
    told, run = Metrics(), make_run(1)
    lost = run._replace(state=State.PENDING, reason=Reason.LOST)
    tried = run._replace(state=State.RETRYING, started_at=0, ended_at=1)
    for fact in (RunsSubmitted([run]), RunsClaimed([run]), RunsSettled([tried, lost])):
        told(fact)
    told(SessionChanged("", True, ""))
    told(Trouble("", OSError()))
    rows = ["| metric | kind | labels | tells |", "|---|---|---|---|"]
    for one in told.registry.collect():
        labels = GAUGES.get(one.name.removeprefix("rota_"), ("", *(one.samples[0].labels if one.samples else ())))[1:]
        shown = ", ".join(f"`{label}`" for label in labels if label != "le")
        if not one.name.startswith("process_"):
            rows.append(
                f"| `{one.name}{'_total' * (one.type == 'counter')}` | {one.type} | {shown} | {one.documentation} |"
            )
    return "\n".join(rows)


PARTS: dict[str, Callable[[], str]] = {
    "metrics": metrics,
    "roles": roles,
    "routes": routes,
    "states": states,
    "reasons": reasons,
    "skips": skips,
    "cron": cron,
    "clock-changes": clock_changes,
    "errors": error_tree,
    "state-drawing": state_drawing,
}


def generated(text: str) -> str:
    """A document with its generated parts as they should be. Raises `KeyError` for a part that nobody makes."""
    return PART.sub(lambda found: f"{found[1]}{PARTS[found[2]]()}\n{found[3]}", text)


def _worded(text: str) -> str:
    return re.sub(r"\{(\w+)\}", r"⟨\1⟩", text)


def _night(trigger: Trigger, day: datetime) -> str:
    fires, end = [], _ms(day.replace(hour=3, minute=59))
    moment = trigger.after(_ms(day.replace(hour=1)) - 1)
    while moment is not None and moment <= end:
        fires.append(f"{datetime.fromtimestamp(moment / 1000, BERLIN):%H:%M %Z}")
        moment = trigger.after(moment)
    return ", ".join(fires) or "nothing"


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def main() -> None:
    """Write every document whose generated parts have changed."""
    for path in sorted(FOLDER.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        if (wanted := generated(text)) != text:
            path.write_text(wanted, encoding="utf-8")
            print(f"{path.name} is written anew")


if __name__ == "__main__":
    main()

"""Report: news and output of running attempts, kept only under their current fence."""

from collections.abc import Sequence

from rota.domain.run import Fence, Run, State
from rota.domain.states import Verdict, judge
from rota.engine.engine import Engine
from rota.ports.desk import Progress
from rota.ports.store import Change, Conflict, Group, Line, Versioned

TRIES = 3


async def report(engine: Engine, progress: Sequence[Progress], lines: Sequence[Line]) -> list[Verdict]:
    """Write starts and progress into the runs, lines into the logs; one verdict for each progress.

    Lines of an attempt that is not the run's newest, or that was taken back, are dropped: a zombie does not write into
    the log of its successor.
    """
    ids = list(dict.fromkeys([item.fence.run for item in progress] + [line.run for line in lines]))
    runs: dict[str, Versioned[Run]] = {found.record.id: found for found in await engine.store.get(Run, ids) if found}
    newest = {(run, one.record.attempt) for run, one in runs.items() if one.record.state is not State.PENDING}
    kept = [line for line in lines if (line.run, line.attempt) in newest]
    verdicts = [_verdict(runs, item.fence) for item in progress]
    for _ in range(TRIES):
        news: dict[str, Run] = {}
        for item in progress:
            if _verdict(runs, item.fence) is Verdict.FRESH:
                run = news.get(item.fence.run, runs[item.fence.run].record)
                began, said = item.started_at or run.started_at, item.progress or run.progress
                news[run.id] = run._replace(started_at=began, progress=said)
        results = await engine.commit([Group((Change(runs[run], after),)) for run, after in news.items()])
        changed = [result.current[0] for result in results if isinstance(result, Conflict)]
        runs = {found.record.id: found for found in changed if found}
        if not runs:
            break
    if kept:
        await engine.logs.append(kept)
    return verdicts


def _verdict(runs: dict[str, Versioned[Run]], fence: Fence) -> Verdict:
    found = runs.get(fence.run)
    return judge(found.record, fence) if found else Verdict.STALE

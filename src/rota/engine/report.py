"""Report: news and output of running attempts, kept only under their current fence."""

from collections.abc import Sequence

from rota.domain.run import Fence, Run
from rota.domain.states import Verdict, judge
from rota.engine.engine import Engine
from rota.ports.desk import Progress
from rota.ports.store import Change, Group, Line, Versioned


async def report(engine: Engine, progress: Sequence[Progress], lines: Sequence[Line]) -> list[Verdict]:
    """Write starts and progress into the runs, lines into the logs; one verdict for each progress.

    A progress that meets a changed run is dropped: the next one carries all of it again. Lines of an attempt that is
    not the run's newest are dropped: a zombie does not write into the log of its successor.
    """
    ids = list(dict.fromkeys([item.fence.run for item in progress] + [line.run for line in lines]))
    runs: dict[str, Versioned[Run]] = {found.record.id: found for found in await engine.store.get(Run, ids) if found}
    verdicts = [_verdict(runs, item.fence) for item in progress]
    news: dict[str, Run] = {}
    for item, verdict in zip(progress, verdicts, strict=True):
        if verdict is Verdict.FRESH:
            run = item.fence.run
            news[run] = _news(news.get(run, runs[run].record), item)
    if news:
        await engine.commit([Group((Change(runs[run], after),)) for run, after in news.items()])
    kept = [line for line in lines if line.run in runs and runs[line.run].record.attempt == line.attempt]
    if kept:
        await engine.logs.append(kept)
    return verdicts


def _verdict(runs: dict[str, Versioned[Run]], fence: Fence) -> Verdict:
    found = runs.get(fence.run)
    return judge(found.record, fence) if found else Verdict.STALE


def _news(run: Run, item: Progress) -> Run:
    return run._replace(started_at=item.started_at or run.started_at, progress=item.progress or run.progress)

"""A kind of task of your own: the command of a `sql` task is a query, its payload the query's parameters.

    rota up --app examples.own_executor:app
    rota tasks create many --executor sql --param database=data/sample.db --payload '{"least": 5}' \
        --command "SELECT name, count(*) AS number FROM measurement WHERE value >= :least GROUP BY name"
    rota tasks trigger many --wait

Whoever may define tasks writes the queries, so the database is opened for reading only.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from rota import Context, Fail, Rota
from rota.executors.custom import TaskView

ROWS = 1_000

app = Rota(name="own-executor")


@app.executor("sql")
def query(context: Context, task: TaskView) -> list[dict[str, Any]]:
    """The first rows of a query. Raises `Fail` for one that is wrong; a locked database is worth another try."""
    database = Path(str(task.params.get("database", "")))
    if not database.is_file():
        raise Fail(f"params.database: there is no file {str(database)!r}")
    with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        # Called every 100,000 steps of the query; anything but 0 ends it.
        connection.set_progress_handler(lambda: int(context.cancelled), 100_000)
        try:
            rows = connection.execute(task.command, task.payload or {}).fetchmany(ROWS)
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise
            raise Fail(f"{error}: {task.command}") from error
    context.log.info("%d rows", len(rows))
    return [dict(row) for row in rows]

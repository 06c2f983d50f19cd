"""All examples as one app: `rota up --app examples.app:app` starts them, on schedule and visible.

A task is an ordinary function; the lines here say when it runs and how long it may take.
"""

from examples.backup import back_up
from examples.fetch import fetch_json
from examples.heartbeat import beat
from examples.log_report import report_logs
from examples.primes import count_primes
from rota import Retry, Rota

app = Rota(name="examples")

heartbeat = app.task(name="heartbeat", schedule="every 10s", catch_up="skip", retries=0, timeout="5s")(beat)
log_report = app.task(name="log_report", schedule="every 1m", timeout="50s")(report_logs)
fetch = app.task(
    name="fetch",
    schedule="every 5m",
    retries=Retry(retries=5, delay_ms=500, rate=2.0, cap_ms=10_000),
    timeout="10s",
    total_timeout="2m",
)(fetch_json)
backup = app.task(name="backup", schedule="@hourly", retries=2, timeout="10m")(back_up)
primes = app.task(name="primes", isolation="process", retries=0, timeout="10m", priority="low")(count_primes)

"""Processes that a test began."""

import psutil

SERVERS = {"postgres", "pgbouncer", "redis-server", "etcd", "epmd", "beam.smp", "rabbitmq-server"}
"""Those of other tests may be children of the same process, for as long as it lives."""


def children() -> list[psutil.Process]:
    """This process's, but for servers."""
    return [one for one in psutil.Process().children() if one.name() not in SERVERS]

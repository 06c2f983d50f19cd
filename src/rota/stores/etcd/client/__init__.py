"""A thin client of etcd 3.4 and newer, over gRPC."""

from rota.stores.etcd.client.client import Client
from rota.stores.etcd.client.faults import Compacted, Full
from rota.stores.etcd.client.words import (
    Alarm,
    Compare,
    Delete,
    Done,
    Event,
    Found,
    Member,
    Op,
    Put,
    Range,
    Ranged,
    Status,
    Txn,
)

__all__ = [
    "Alarm",
    "Client",
    "Compacted",
    "Compare",
    "Delete",
    "Done",
    "Event",
    "Found",
    "Full",
    "Member",
    "Op",
    "Put",
    "Range",
    "Ranged",
    "Status",
    "Txn",
]

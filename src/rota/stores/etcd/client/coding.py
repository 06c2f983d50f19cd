"""Questions and answers as messages, and back."""

from typing import Any

from rota.stores.etcd.client.messages import CLASSES
from rota.stores.etcd.client.words import Delete, Done, Found, Put, Range, Ranged, Txn

RESULTS = {"=": 0, ">": 1, "<": 2, "!=": 3}
TARGETS = {"version": 0, "created": 1, "modified": 2, "value": 3, "lease": 4}
NAMES = {Range: "range", Put: "put", Delete: "delete"}
_TXN, _RANGE = CLASSES["TxnRequest"], CLASSES["RangeRequest"]


def range_message(ask: Range) -> Any:
    """The message that asks this."""
    return _said(ask, _RANGE())


def txn_message(txn: Txn) -> Any:
    """The message that asks for this."""
    return _filled(txn, _TXN())


def _filled(txn: Txn, message: Any) -> Any:
    for key, target, op, value, end in txn.compares:
        # An end that is said and empty is that of all keys.
        compare = message.compare.add(key=key, target=TARGETS[target], result=RESULTS[op], end=end or None)
        setattr(compare, target, value)
    for operations, into in ((txn.then, message.success), (txn.otherwise, message.failure)):
        for one in operations:
            if isinstance(one, Txn):
                _filled(one, into.add().txn)
            else:
                _said(one, getattr(into.add(), NAMES[type(one)]))
    message.SetInParent()
    return message


def _said(one: Put | Delete | Range, message: Any) -> Any:
    for name, value in zip(one._fields, one, strict=True):
        if value:
            setattr(message, name, value)
    return message


def found(kv: Any) -> Found:
    """A key as the server tells of it."""
    return Found(kv.key, kv.value, kv.modified)


def ranged(message: Any) -> Ranged:
    """Keys as the server tells of them."""
    return Ranged(tuple(map(found, message.kvs)), message.count, message.more, message.header.revision)


def done(message: Any) -> Done:
    """What the server tells of a transaction."""
    return Done(message.succeeded, tuple(map(_reply, message.responses)), message.header.revision)


def _reply(message: Any) -> Ranged | Done | None:
    if message.HasField("txn"):
        return done(message.txn)
    return ranged(message.range) if message.HasField("range") else None

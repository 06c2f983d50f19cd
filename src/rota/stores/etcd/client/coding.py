"""Questions and answers as messages, and back."""

from collections.abc import Iterable
from typing import Any

from rota.stores.etcd.client.messages import CLASSES
from rota.stores.etcd.client.words import Compare, Delete, Done, Found, Op, Put, Range, Ranged, Txn

OPS = {"=": 0, ">": 1, "<": 2, "!=": 3}
TARGETS = {"version": 0, "created": 1, "modified": 2, "value": 3, "lease": 4}
_TXN, _RANGE = CLASSES["TxnRequest"], CLASSES["RangeRequest"]


def range_message(ask: Range) -> Any:
    """The message that asks this."""
    return _ranged(ask, _RANGE())


def txn_message(txn: Txn) -> Any:
    """The message that asks for this."""
    return _filled(txn, _TXN())


def _filled(txn: Txn, message: Any) -> Any:
    for compare in txn.compares:
        _compare(compare, message.compare.add())
    _operations(txn.then, message.success)
    _operations(txn.otherwise, message.failure)
    message.SetInParent()
    return message


def _compare(compare: Compare, message: Any) -> None:
    key, target, op, value, end = compare
    message.key, message.target, message.result = key, TARGETS[target], OPS[op]
    setattr(message, target, value)
    if end:
        message.range_end = end


def _operations(operations: Iterable[Op], into: Any) -> None:
    for one in operations:
        message = into.add()
        if isinstance(one, Put):
            put = message.put
            put.key, put.value, lease = one
            if lease:
                put.lease = lease
        elif isinstance(one, Txn):
            _filled(one, message.txn)
        elif isinstance(one, Delete):
            message.delete.key = one.key
            if one.end:
                message.delete.range_end = one.end
        else:
            _ranged(one, message.range)


def _ranged(ask: Range, message: Any) -> Any:
    message.key, end, limit, keys_only, count_only, revision = ask
    if end:
        message.range_end = end
    if limit:
        message.limit = limit
    if keys_only:
        message.keys_only = True
    if count_only:
        message.count_only = True
    if revision:
        message.revision = revision
    return message


def found(kv: Any) -> Found:
    """A key as the server tells of it."""
    return Found(kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.version)


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

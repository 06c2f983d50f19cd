"""What is asked of an etcd server, and what it answers."""

from collections.abc import Iterable
from typing import Literal, NamedTuple, TypeAlias, Union


class Found(NamedTuple):
    """A key as read, and the revision at which it was last written."""

    key: bytes
    value: bytes
    modified: int


class Ranged(NamedTuple):
    """Keys in order; `count` of all in the range, `more` if the limit kept some back."""

    items: tuple[Found, ...]
    count: int  # type: ignore[assignment]  # shadows tuple.count, which nobody needs here
    more: bool
    revision: int
    """The server's at that time; 0 inside of a transaction."""


class Compare(NamedTuple):
    """A condition on a key, or on all keys up to `end`. A key that is not there has numbers of 0, and no value."""

    key: bytes
    target: Literal["modified", "created", "value", "version", "lease"]
    op: Literal["=", "!=", ">", "<"]
    value: int | bytes
    end: bytes = b""


class Put(NamedTuple):
    """Write a key; with `lease` it goes when that does."""

    key: bytes
    value: bytes
    lease: int = 0


class Delete(NamedTuple):
    """Delete a key, or all up to `end`."""

    key: bytes
    end: bytes = b""


class Range(NamedTuple):
    """Read a key, or all up to `end`: at most `limit` (0: no limit), as of `revision` (0: now)."""

    key: bytes
    end: bytes = b""
    limit: int = 0
    keys_only: bool = False
    count_only: bool = False
    revision: int = 0


class Txn(NamedTuple):
    """`then` if all compares hold, else `otherwise`. No key may be written twice."""

    compares: "tuple[Compare, ...]"
    then: "tuple[Op, ...]"
    otherwise: "tuple[Op, ...]" = ()


Op: TypeAlias = Union[Put, Delete, Range, Txn]  # noqa: UP007  # `Txn` and `Op` name each other


def has(ops: Iterable[Op], *kinds: type[Op]) -> bool:
    """Whether operations of these kinds are among some, however deep."""
    return any(
        isinstance(one, kinds) or (isinstance(one, Txn) and has((*one.then, *one.otherwise), *kinds)) for one in ops
    )


class Done(NamedTuple):
    """What became of a transaction; a reply for each operation, None for a put or a delete."""

    succeeded: bool
    replies: "tuple[Ranged | Done | None, ...]"
    revision: int
    """The server's after it; 0 for a nested one."""


class Status(NamedTuple):
    """How a member is."""

    member: int
    version: str
    size: int
    """Bytes of its database's file; `in_use`: without what `defragment` would give back."""
    in_use: int
    leader: int
    """The leader's number, 0 where it knows of none."""
    errors: tuple[str, ...]


class Alarm(NamedTuple):
    """An alarm that a member raised."""

    member: int
    kind: str

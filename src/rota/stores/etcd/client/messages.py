"""What travels to an etcd server and back: the parts of its protocol that Rota uses.

They are built from a table, into a pool of their own, so that no other etcd library in the process is in their way.
Only the numbers travel. Every field says whether it was set (proto2), and an enumeration is a number.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

PACKAGE = "rota.etcd"
TABLE = """
Header: uint64 member_id 2, int64 revision 3
KeyValue: bytes key 1, int64 modified 3, bytes value 5
RangeRequest: bytes key 1, bytes end 2, int64 limit 3, int64 revision 4, bool keys_only 8, bool count_only 9
RangeResponse: Header header 1, KeyValue* kvs 2, bool more 3, int64 count 4
PutRequest: bytes key 1, bytes value 2, int64 lease 3
DeleteRequest: bytes key 1, bytes end 2
Compare: int32 result 1, int32 target 2, bytes key 3, int64 version 4, int64 created 5, int64 modified 6, \
bytes value 7, int64 lease 8, bytes end 64
RequestOp: RangeRequest range 1, PutRequest put 2, DeleteRequest delete 3, TxnRequest txn 4
ResponseOp: RangeResponse range 1, Empty put 2, Empty delete 3, TxnResponse txn 4
TxnRequest: Compare* compare 1, RequestOp* success 2, RequestOp* failure 3
TxnResponse: Header header 1, bool succeeded 2, ResponseOp* responses 3
CompactRequest: int64 revision 1, bool physical 2
GrantRequest: int64 ttl 1
GrantResponse: int64 id 2
WatchRequest: WatchCreate create 1
WatchCreate: bytes key 1, int64 start_revision 3
WatchResponse: bool canceled 4, Event* events 11
Event: int32 type 1, KeyValue kv 2
Credentials: string name 1, string password 2
Token: string token 2
AlarmRequest: int32 action 1, uint64 member_id 2, int32 alarm 3
AlarmMember: uint64 member_id 1, int32 alarm 2
AlarmResponse: AlarmMember* alarms 2
StatusResponse: Header header 1, string version 2, int64 size 3, uint64 leader 4, string* errors 8, \
int64 in_use 9
Member: uint64 id 1
MemberList: Member* members 2
Empty:
"""


class Method(NamedTuple):
    """A call, as the channel wants to know it."""

    path: str
    write: Callable[[Any], bytes]
    read: Callable[[bytes], Any]


def _file() -> FileDescriptorProto:
    """The table as the library wants it: name and fields a line; small letters are a scalar, `*` is many."""
    file = FileDescriptorProto(name=f"{PACKAGE}.proto", package=PACKAGE, syntax="proto2")
    for line in TABLE.strip().splitlines():
        name, _, fields = line.partition(":")
        message = file.message_type.add(name=name)
        for one in filter(None, fields.split(",")):
            said, called, number = one.split()
            kind = said.rstrip("*")
            label = FieldDescriptorProto.LABEL_REPEATED if said != kind else FieldDescriptorProto.LABEL_OPTIONAL
            field = message.field.add(name=called, number=int(number), label=label)
            if kind.islower():
                field.type = FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")
            else:
                field.type_name = f".{PACKAGE}.{kind}"
    return file


def _classes() -> dict[str, Any]:
    pool = DescriptorPool()
    file = _file()
    pool.AddSerializedFile(file.SerializeToString())
    return {one.name: GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{one.name}")) for one in file.message_type}


CLASSES = _classes()


def method(path: str, request: str, response: str) -> Method:
    """The call of this path, by the names of its messages."""
    return Method(f"/etcdserverpb.{path}", CLASSES[request].SerializeToString, CLASSES[response].FromString)


RANGE = method("KV/Range", "RangeRequest", "RangeResponse")
TXN = method("KV/Txn", "TxnRequest", "TxnResponse")
COMPACT = method("KV/Compact", "CompactRequest", "Empty")
GRANT = method("Lease/LeaseGrant", "GrantRequest", "GrantResponse")
WATCH = method("Watch/Watch", "WatchRequest", "WatchResponse")
LOGIN = method("Auth/Authenticate", "Credentials", "Token")
ALARM = method("Maintenance/Alarm", "AlarmRequest", "AlarmResponse")
STATUS = method("Maintenance/Status", "Empty", "StatusResponse")
DEFRAGMENT = method("Maintenance/Defragment", "Empty", "Empty")
MEMBERS = method("Cluster/MemberList", "Empty", "MemberList")

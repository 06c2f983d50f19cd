"""What people are told of an etcd server: by errors, of a URL."""

import grpc
import pytest
from grpc.aio import AioRpcError, Metadata

from rota.domain.errors import Incompatible, Invalid, Unavailable, Unclear
from rota.stores.etcd.address import read_url
from rota.stores.etcd.client.faults import Compacted, Full, Next, fault


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("etcd://", "no host"),
        ("etcd:///rota", "no host"),
        ("etcd://h,/rota", "no host"),
        ("etcd://h:six", "its URL cannot be read"),
        ("etcd://h:99999", "99999"),
        ("etcd://h/a/b", "a/b"),
        ("etcd://h/{a}", "prefix"),
        ("etcd://h?pool=3", "pool= is no option"),
        ("etcd://ann@h", "a name and a password"),
        ("etcd://:secret@h", "a name and a password"),
        ("etcd://h?ca=" + __file__, "etcds"),
        ("etcds://h?ca=/no/such.pem", "no file"),
        ("etcds://h?cert=" + __file__, "go together"),
    ],
)
def test_a_bad_url_is_named_and_its_password_is_not(url, word):
    with pytest.raises(Invalid, match=word) as told:
        read_url(url)
    assert "secret" not in str(told.value)


def test_a_good_url_is_understood():
    plain = read_url("etcd://h")
    assert plain == (False, (("h", 2379),), "", "", "rota", ("", "", ""), {})
    said = read_url(f"etcds://ann:a%40b@h1,h2:7,[::1]:8/shop/?ca={__file__}&cert={__file__}&key={__file__}")
    assert said.hosts == (("h1", 2379), ("h2", 7), ("::1", 8))
    assert (said.path, said.user, said.password) == ("shop", "ann", "a@b")
    assert (said.secure, said.files) == (True, (__file__, __file__, __file__))


REFUSED = "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: "
CODES = grpc.StatusCode


@pytest.mark.parametrize(
    ("code", "said", "then", "kind", "word"),
    [
        (CODES.UNAVAILABLE, REFUSED + "Connection refused", Next.ELSEWHERE, Unavailable, "does not answer"),
        (CODES.UNAVAILABLE, "errors resolving h:2379: [Domain name not found]", Next.ELSEWHERE, Unavailable, "address"),
        (CODES.UNAVAILABLE, "DNS resolution failed for h:2379", Next.ELSEWHERE, Unavailable, "address"),
        (CODES.UNAVAILABLE, "etcdserver: no leader", Next.ELSEWHERE, Unavailable, "no leader"),
        (CODES.UNKNOWN, "raft proposal dropped", Next.ELSEWHERE, Unavailable, "no leader"),
        (CODES.RESOURCE_EXHAUSTED, "etcdserver: too many requests", Next.ELSEWHERE, Unavailable, "try again"),
        (CODES.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded", Next.NOTHING, Full, "NOSPACE"),
        (
            CODES.OUT_OF_RANGE,
            "etcdserver: mvcc: required revision has been compacted",
            Next.NOTHING,
            Compacted,
            "keeps",
        ),
        (CODES.UNAUTHENTICATED, "etcdserver: invalid auth token", Next.LOGIN, Unavailable, "password"),
        (CODES.INVALID_ARGUMENT, "etcdserver: user name is empty", Next.LOGIN, Unavailable, "password"),
        (CODES.INVALID_ARGUMENT, "etcdserver: authentication failed, invalid", Next.NOTHING, Unavailable, "password"),
        (CODES.DATA_LOSS, "etcdserver: corrupt cluster", Next.NOTHING, Incompatible, "CORRUPT"),
        (CODES.UNIMPLEMENTED, "unknown service etcdserverpb.KV", Next.NOTHING, Incompatible, "unknown service"),
    ],
)
def test_what_surely_did_not_happen_is_not_unclear(code, said, then, kind, word):
    next_, told = fault(AioRpcError(code, Metadata(), Metadata(), said), "etcd at h:2379", writes=True)
    assert (next_, type(told)) == (then, kind)
    assert "etcd at h:2379" in str(told)
    assert word in str(told)
    assert said in str(told)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (CODES.UNAVAILABLE, "Socket closed"),
        (CODES.UNAVAILABLE, "Unwrap failed (TSI_DATA_CORRUPTED)"),
        (CODES.UNAVAILABLE, "recvmsg:Connection reset by peer"),
        (CODES.UNAVAILABLE, "keepalive watchdog timeout"),
        (CODES.UNAVAILABLE, "etcdserver: request timed out, possibly due to previous leader failure"),
        (CODES.UNAVAILABLE, "etcdserver: leader changed"),
        (CODES.UNAVAILABLE, "etcdserver: server stopped"),
        (CODES.DEADLINE_EXCEEDED, "Deadline Exceeded"),
        (CODES.CANCELLED, ""),
        (CODES.INTERNAL, "RST_STREAM"),
        (CODES.UNKNOWN, "never heard of"),
        (CODES.RESOURCE_EXHAUSTED, "CLIENT: Received message larger than max (9 vs. 8)"),
    ],
)
def test_what_may_have_happened_is_unclear_for_a_write_and_asked_again_for_a_read(code, said):
    error = AioRpcError(code, Metadata(), Metadata(), said)
    for writes, then, kind in ((True, Next.NOTHING, Unclear), (False, Next.ELSEWHERE, Unavailable)):
        next_, told = fault(error, "etcd at h:2379", writes)
        assert (next_, type(told)) == (then, kind)
        assert (said or code.name) in str(told)

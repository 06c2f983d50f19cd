import pytest

from rota.domain.errors import Invalid
from rota.executors.guard import Forbidden, Guard

REFUSED = [
    "0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254", "172.16.0.1", "192.0.0.8",
    "192.168.1.1", "198.18.0.1", "203.0.113.9", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:a9fe:a9fe", "::ffff:0:127.0.0.1", "64:ff9b::7f00:1",
    "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::", "3fff::1", "fc00::1", "fd00::1", "fe80::1",
    "fe80::1%lo", "fec0::1", "ff02::1",
]  # fmt: skip


@pytest.mark.parametrize("address", REFUSED)
def test_addresses_that_are_not_public_are_refused(address):
    with pytest.raises(Forbidden, match="not a public address"):
        Guard().check(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "172.32.0.1", "2606:4700::1111", "64:ff9b::808:808"])
def test_public_addresses_pass(address):
    Guard().check(address)


@pytest.mark.parametrize("text", ["", "x", "127.1", "1.2.3.4.5", "1.2.3.4/32", "0x7f.1"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(Forbidden, match="no address"):
        Guard().check(text)


@pytest.mark.parametrize(
    ("allow", "address"),
    [
        ("127.0.0.0/8", "127.3.2.1"),
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.0/8", "::ffff:127.0.0.1"),
        ("::1", "::1"),
        ("fd00::/8", "fd12::1"),
    ],
)
def test_the_operator_can_allow_networks(allow, address):
    Guard((allow,)).check(address)
    with pytest.raises(Forbidden):
        Guard((allow,)).check("10.0.0.1")


@pytest.mark.parametrize("entry", ["", " ", "10.0.0.1/8", "300.1.2.3", "10.0.0.0/33", "x/8", "::1::", "127.1", "0x7f"])
def test_what_cannot_be_allowed_is_said(entry):
    with pytest.raises(Invalid, match="no network"):
        Guard((entry,))


def answering(*answers):
    """A resolver that gives one answer after the other, and notes what it was asked."""
    asked: list[tuple[str, int]] = []
    left = list(answers)

    async def resolve(host, port):
        asked.append((host, port))
        return left.pop(0)

    return resolve, asked


async def test_a_host_is_allowed_by_name_with_all_its_addresses():
    resolve, _ = answering(["10.0.0.1"], ["10.0.0.1"], ["10.0.0.1"])
    guard = Guard(("db.internal",), resolve)
    assert await guard.addresses("DB.internal.", 80) == ["10.0.0.1"]
    with pytest.raises(Forbidden):
        await guard.addresses("xdb.internal", 80)
    with pytest.raises(Forbidden):
        await guard.addresses("10.0.0.1", 80)


async def test_one_private_answer_among_public_ones_is_enough():
    resolve, _ = answering(["8.8.8.8", "127.0.0.1"])
    with pytest.raises(Forbidden, match=r"two\.example"):
        await Guard((), resolve).addresses("two.example", 80)


async def test_each_connection_is_checked_anew_and_asks_once():
    resolve, asked = answering(["8.8.8.8"], ["127.0.0.1"])
    guard = Guard((), resolve)
    assert await guard.addresses("changing.example", 80) == ["8.8.8.8"]
    with pytest.raises(Forbidden):
        await guard.addresses("changing.example", 80)
    assert len(asked) == 2


async def test_no_address_is_an_error_of_the_network():
    resolve, _ = answering([])
    with pytest.raises(OSError, match="no address"):
        await Guard((), resolve).addresses("none.example", 80)


LOCAL = [
    "localhost", "LOCALHOST.", "127.1", "127.0.1", "2130706433", "017700000001", "0177.0.0.1", "0x7f000001", "0x7f.1",
    "0", "0.0.0.0", "127.0.0.1.", "１２７.0.0.1", "①②⑦.0.0.1", "127。0。0。1", "::1", "::", "::ffff:127.0.0.1",
    "0:0:0:0:0:0:0:1", "::ffff:7f00:1", "fe80::1", "169.254.169.254",
]  # fmt: skip


@pytest.mark.parametrize("host", LOCAL)
async def test_the_systems_resolver_hides_no_spelling(host):
    # Some resolvers do not know some spellings; that is no way in either.
    with pytest.raises((Forbidden, OSError)):
        await Guard().addresses(host, 80)


@pytest.mark.parametrize("host", ["a\0b", "x" * 300, "a..b", "\ud800"])
async def test_what_is_no_host_name_is_refused(host):
    with pytest.raises((Forbidden, OSError)):
        await Guard().addresses(host, 80)

import pytest

from rota.executors.guard import Forbidden, Guard
from rota.worker.poster import PRIVATE


def test_workers_may_be_on_private_networks():
    guard = Guard(PRIVATE)
    for address in ("10.1.2.3", "127.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "::1", "fd12::1", "fc00::1"):
        guard.check(address)
    for address in ("fd20:ce::254", "169.254.1.1", "255.255.255.255", "fe80::1", "ff02::1"):
        with pytest.raises(Forbidden):
            guard.check(address)

import socket
from contextlib import closing

from rota.api.serve import Address, _bound


def test_no_part_of_an_answer_waits_until_another_is_acknowledged():
    with closing(_bound(Address(port=0))) as listening, socket.create_connection(listening.getsockname()):
        connection, _ = listening.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

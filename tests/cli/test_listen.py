"""`rota worker --listen`: what is wrong is said before anything is done."""

import pytest

WORKER = ("worker", "--scheduler", "http://127.0.0.1:1", "--token", "rota_key_" + "0" * 16 + "_" + "x" * 43)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--listen", "9000"), "no HOST:PORT"),
        (("--listen", "h:x"), "no HOST:PORT"),
        (("--listen", "127.0.0.1:9000/x"), "no HOST:PORT"),
        (("--listen", "0.0.0.0:9000"), "give --url"),
        (("--listen", "[::]:9000"), "give --url"),
        (("--listen", "127.0.0.1:0", "--listen-cert", "x.pem"), "or none of them"),
        (("--listen", "127.0.0.1:0", "--listen-cert", "x.pem", "--listen-key", "y.pem"), "make no certificate"),
        (("--listen", "127.0.0.1:0", "--token", "login"), "is no key of a worker"),
        (("--listen", "192.0.2.1:9000"), "192.0.2.1 is not encrypted"),
        (("--listen", "192.0.2.1:9000"), "listen_port"),
    ],
)
def test_what_cannot_be_listened_on_is_refused(rota, args, said):
    answer = rota(*WORKER, *args)
    assert answer.code != 0
    assert said in answer.err, answer


@pytest.mark.parametrize("option", ["--url", "--listen-cert", "--listen-key"])
def test_what_says_more_of_listening_is_not_taken_without_it(rota, option):
    assert rota.refused(*WORKER, option, "x").startswith("listen: is missing")


def test_a_worker_beside_the_store_is_not_posted_to(rota):
    answer = rota("worker", "--listen", "127.0.0.1:0")
    assert answer.code != 0
    assert "worker of --scheduler" in answer.err

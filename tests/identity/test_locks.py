"""Passwords, keys, signatures and private files, by themselves."""

import asyncio
import hmac
import os
import time
from multiprocessing.pool import ThreadPool

import pytest

from rota.domain.errors import Invalid
from rota.domain.people import check_password
from rota.identity import Identity, files, keys
from rota.identity.passwords import AT_ONCE, Passwords
from rota.ports.identity import Signed
from tests.identity.support import SECRET

SAID = Signed("s" * 32, "anna", 3)


@pytest.fixture(autouse=True)
def cheap() -> None:
    """Here passwords cost what they cost."""


class TestPasswords:
    async def test_only_the_right_one_fits(self):
        passwords = Passwords()
        kept = await passwords.hashed("seven lamps")
        assert kept.startswith("$argon2id$v=19$m=65536,t=2,p=1$")
        assert kept != await passwords.hashed("seven lamps"), "each has its own salt"
        assert await passwords.fits("seven lamps", kept)
        assert not await passwords.fits("seven lamp", kept)
        assert not await passwords.fits("of nobody", "")
        assert not await passwords.fits("seven lamps", "plain text")

    def test_nobody_takes_as_long_as_somebody(self):
        """20: within 20 ms, by what the processor does for it"""
        passwords = Passwords()
        kept = passwords._hasher.hash("seven lamps")
        passwords._verified("x", "")
        least = {"kept": 10.0, "none": 10.0}
        for _ in range(5):
            for kind, text in (("kept", kept), ("none", "")):
                began = time.thread_time()
                assert not passwords._verified("wrong", text)
                least[kind] = min(least[kind], time.thread_time() - began)
        assert abs(least["kept"] - least["none"]) < 0.02

    async def test_the_loop_is_free_meanwhile_and_few_are_at_work(self):
        passwords = Passwords()
        many = asyncio.gather(*(passwords.hashed(str(number)) for number in range(AT_ONCE * 3)))
        turns = 0
        while not many.done():
            await asyncio.wait([asyncio.ensure_future(asyncio.wrap_future(passwords._threads.submit(int)))])
            turns += 1
            assert len(passwords._threads._threads) <= AT_ONCE
        await many
        assert turns

    @pytest.mark.parametrize(
        "password", ["", "short", "a" * 257, "a" * 20, "annaannaanna", "ANNAannaANNA", "abababababab"]
    )
    def test_easy_ones_are_refused_without_being_told(self, password):
        with pytest.raises(Invalid) as caught:
            check_password("anna", password)
        assert caught.value.field == "password"
        assert not password or password not in caught.value.message


class TestKeys:
    def test_a_key_is_read_back_and_its_secret_is_not_kept(self):
        minted = keys.mint("key")
        assert keys.read(minted.text) == ("key", minted.id, minted.digest)
        secret = minted.text.split("_", 3)[3]
        assert secret not in minted.digest
        assert len(minted.digest) == 64
        assert len({keys.mint("key").text for _ in range(100)}) == 100

    @pytest.mark.parametrize(
        "text", ["", "rota_key_", "x" * 75, "rota_key_0123456789abcdef_short", "rota_admin_" + "0" * 60]
    )
    def test_nothing_else_looks_like_one(self, text):
        assert keys.read(text) is None

    def test_a_line_end_is_no_part_of_a_key(self):
        assert keys.read(keys.mint("key").text + "\n") is None

    def test_digests_are_compared_in_constant_time(self):
        assert vars(keys)["compare_digest"] is hmac.compare_digest
        assert keys.same("aé", "aé")
        assert not keys.same("a", "b")


class TestSignatures:
    def test_each_use_has_its_own_tokens(self):
        locks = Identity(SECRET)
        for use in ("access", "refresh", "cookie"):
            text = locks.sign(use, SAID, 10_000, 60_000)
            assert locks.verify(use, text, 10_000) == SAID
            assert [locks.verify(other, text, 10_000) for other in {"access", "refresh", "cookie"} - {use}] == [
                None
            ] * 2

    def test_it_ends_on_time(self):
        locks = Identity(SECRET)
        text = locks.sign("access", SAID, 10_000, 60_000)
        assert locks.verify("access", text, 69_999) == SAID
        assert locks.verify("access", text, 70_000) is None
        assert locks.verify("access", text, 4_999) is None, "signed in the future"

    @pytest.mark.parametrize("secret", [b"", b"short", b"x" * 31])
    def test_a_short_secret_is_refused_by_name(self, secret):
        """6"""
        with pytest.raises(Invalid) as caught:
            Identity(secret)
        assert (caught.value.field, "32 bytes" in caught.value.message) == ("security.secret", True)


class TestFiles:
    def test_they_are_for_their_owner_alone(self, tmp_path):
        """60"""
        path = tmp_path / "new" / "credentials.json"
        files.keep_credential(path, "http://a", "key-a")
        files.keep_credential(path, "http://b", "key-b")
        assert files.credentials(path) == {"http://a": "key-a", "http://b": "key-b"}
        assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
        assert os.listdir(path.parent) == [path.name]

    def test_one_that_others_can_read_is_refused(self, tmp_path):
        path = tmp_path / "secret"
        path.write_text("x" * 64)
        path.chmod(0o640)
        with pytest.raises(Invalid, match="can be read by others"):
            files.signing_secret(path)

    @pytest.mark.parametrize("text", ["[]", "{", '{"a": 1}'])
    def test_one_that_was_damaged_is_named(self, tmp_path, text):
        path = tmp_path / "credentials.json"
        files.write_private(path, text)
        with pytest.raises(Invalid, match="no file of credentials"):
            files.credentials(path)

    def test_there_are_none_at_first(self, tmp_path):
        assert files.credentials(tmp_path / "nowhere" / "x") == {}

    def test_several_who_make_a_secret_at_once_have_the_same(self, tmp_path):
        with ThreadPool(8) as pool:
            found = set(pool.map(lambda _: files.signing_secret(tmp_path / "secret"), range(16)))
        assert len(found) == 1
        assert len(found.pop()) >= 32

import stat
from pathlib import Path

import pytest

from rota.domain.errors import Invalid
from rota.settings.load import load
from rota.settings.secrets import decrypt, encrypt, new_key


def test_an_encrypted_value_is_read_by_whoever_has_the_key(write, monkeypatch, problems):
    monkeypatch.setenv("ROTA_SECRETS_KEY", new_key())
    text = f'[redis]\npassword = "{encrypt("hidden")}"'
    assert "hidden" not in text
    assert load(write(text)).settings.redis.password.get_secret_value() == "hidden"
    monkeypatch.setenv("ROTA_SECRETS_KEY", new_key())
    (problem,) = problems(text)
    assert problem.startswith("rota.toml: redis.password cannot be decrypted by any key of ROTA_SECRETS_KEY")
    monkeypatch.delenv("ROTA_SECRETS_KEY")
    (problem,) = problems(text)
    assert "there is no key; make one with `rota secrets key`" in problem


def test_keys_are_changed_without_a_moment_in_which_nothing_can_be_read(monkeypatch, folder):
    old, new = new_key(), new_key()
    monkeypatch.setenv("ROTA_SECRETS_KEY", old)
    before = encrypt("hidden")
    monkeypatch.setenv("ROTA_SECRETS_KEY", f"{new},{old}")
    assert decrypt(before) == "hidden"
    after = encrypt(before)
    monkeypatch.delenv("ROTA_SECRETS_KEY")
    (folder / "keys").write_text(f"{new}\n")
    monkeypatch.setenv("ROTA_SECRETS_KEY_FILE", "keys")
    assert decrypt(after) == "hidden"
    with pytest.raises(Invalid):
        decrypt(before)


@pytest.mark.parametrize(("name", "value"), [("ROTA_SECRETS_KEY", "short"), ("ROTA_SECRETS_KEY_FILE", "nowhere")])
def test_keys_that_are_none(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(Invalid, match=name):
        encrypt("x")


def test_the_commands_make_keys_and_encrypt(rota, monkeypatch, folder):
    first = rota.line("secrets", "key")
    assert len(first) == 44
    assert "first in keys" in rota.line("secrets", "key", "--to", "keys")
    assert stat.S_IMODE(Path("keys").stat().st_mode) == 0o600
    (before,) = Path("keys").read_text().split()
    rota.line("secrets", "key", "--to", "keys")
    after, kept = Path("keys").read_text().split()
    assert (kept, after != kept) == (before, True)
    monkeypatch.setenv("ROTA_SECRETS_KEY_FILE", "keys")
    assert decrypt(rota("secrets", "encrypt", given="hidden\n").out.strip()) == "hidden"
    monkeypatch.delenv("ROTA_SECRETS_KEY_FILE")
    assert rota.refused("secrets", "encrypt").startswith("ROTA_SECRETS_KEY: there is no key")

"""Attack tests 6, 43 and 60: sample secrets, hostile files, secrets that come out."""

import logging
import os
import traceback
from itertools import pairwise
from pathlib import Path

import pytest

from rota.domain.errors import Invalid
from rota.settings.fields import SAMPLES
from rota.settings.load import SettingsError, load
from rota.settings.tree import Security, Settings
from rota.wiring import own_secret

GOOD = "Kx7vQp2mWz9RtYb4NcHs8LdFg3JeUa6T"
CANARY = "canary-7f3a9c"


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "x",
        "default_token",
        GOOD[:31],
        "a" * 64,
        "abcdefghij" * 5,
        "0123456789abcdef0123456789ABCDEF",
        "correct-horse-qwerty-battery-staple-7319",
        *(f"{word}-{GOOD}" for word in SAMPLES),
        f"please-CHANGE-me-{GOOD}",
    ],
)
def test_missing_short_and_sample_secrets_are_refused(problems, secret):
    (problem,) = problems(f'[security]\nsecret = "{secret}"')
    assert problem.startswith("rota.toml: security.secret is wrong; it ")
    assert "rota secrets key" in problem
    assert len(secret) < 5 or secret not in problem


def test_a_good_secret_and_none(toml):
    assert toml(f'[security]\nsecret = "{GOOD}"').settings.security.signing_secret == GOOD.encode()
    assert Security().signing_secret == b""


def test_the_api_does_not_start_without_a_secret_where_none_can_be_kept():
    """An SQLite database has a folder for one; nodes on a server must be given the same."""
    with pytest.raises(Invalid, match=r"^security\.secret: is missing, .* make one with `rota secrets key`"):
        own_secret("postgresql://localhost/rota")


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 9)}]\n" for before, after in pairwise("abcdefghi")
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, "aliases and deep levels are refused (line 2)"),
        ("a: &a {b: *a}", "aliases and deep levels are refused"),
        ("api: {host: !!python/object/apply:os.system ['touch pwned']}", "could not determine a constructor"),
        ("!!python/object/new:os.system ['touch pwned']", "could not determine a constructor"),
        ("api: {host: !!python/name:os.system ''}", "could not determine a constructor"),
        ("api: {port: 1}\napi: {port: 2}", "a key is given twice (line 2)"),
        ("api: {port: 1, port: 2}", "a key is given twice"),
        ("api: " + "[" * 100_000, "aliases and deep levels are refused"),
        ("api: " + "{a: " * 100_000, "aliases and deep levels are refused"),
        ("? [a]\n: b", "unhashable key"),
        ("--- \na: 1\n---\nb: 2", "found another document (line 3)"),
    ],
    ids=range(11),
)
def test_hostile_yaml_is_refused(problems, folder, text, said):
    (problem,) = problems(text, "rota.yaml")
    assert problem.startswith("rota.yaml: cannot be accepted: ")
    assert said in problem
    assert not (folder / "pwned").exists()


@pytest.mark.parametrize(
    "text", ["a = 1\na = 2", "[api]\n[api]", "a = " + "[" * 100_000, "[api]\nport = " + "9" * 10_000], ids=range(4)
)
def test_hostile_toml_is_refused(problems, text):
    (problem,) = problems(text)
    assert problem.startswith("rota.toml: ")
    assert len(problem) < 300


def test_a_file_that_is_too_large_or_has_no_end(problems):
    assert "is over the limit of 1048576 bytes" in problems("#" * 2_000_000)[0]
    Path("endless.toml").symlink_to("/dev/zero")
    with pytest.raises(SettingsError, match="over the limit"):
        load(Path("endless.toml"))


WITH_SECRETS = f"""
[database]
url = "postgresql://rota:{CANARY}-1@db:5432/rota?password={CANARY}-2"
[message_queue]
password = "{CANARY}-3"
[redis]
password = "${{PASSWORD}}"
[security]
secret = "{CANARY}-5-{GOOD}"
"""


def test_secrets_do_not_come_out(rota, write, monkeypatch, caplog):
    monkeypatch.setenv("PASSWORD", f"{CANARY}-4")
    caplog.set_level(logging.DEBUG)
    loaded = load(write(WITH_SECRETS), given={"message_queue.username": "u"})
    assert loaded.settings.redis.password.get_secret_value() == f"{CANARY}-4"
    texts = [repr(loaded), str(loaded), repr(loaded.settings.database), str(loaded.settings.model_dump())]
    texts += [loaded.settings.model_dump_json(), *map(loaded.settings.spoken, loaded.settings.flat())]
    for command in (("show",), ("show", "--json"), ("check",), ("check", "--json")):
        answer = rota("config", *command)
        texts += [answer.out, answer.err]
    assert [text for text in texts if CANARY in text] == []
    assert CANARY not in caplog.text


@pytest.mark.parametrize(
    "broken",
    [
        f'[worker]\nmax_concurrent_tasks = "{CANARY}"',
        f'[worker]\nheartbeat_interval = "{CANARY}"',
        f'[worker]\nqueues = ["{CANARY} {CANARY}"]',
        f'[worker]\nshell = "{CANARY}"',
        f'[api]\ncors_origins = ["{CANARY}", 3]',
        f'[message_queue]\ntype = "{CANARY}"',
        f'[message_queue]\nhost = "ann:{CANARY}@host"',
        f'[redis]\naddr = "ann:{CANARY}@host:6379"',
        f'[message_queue]\npassword = ["{CANARY}"]',
        f'[message_queue]\npassword = {{a = "{CANARY}"}}',
        f'[security]\nsecret = "{CANARY}"',
        f'[security]\nsecret = "enc:{CANARY}"',
        f'[message_queue]\npassword = "{CANARY}',
        f'[message_queue]\npassword = "{CANARY}\\q"',
        f"[message_queue]\npassword = {CANARY}",
    ],
)
def test_secrets_do_not_come_out_of_errors(write, monkeypatch, rota, broken):
    monkeypatch.setenv("ROTA_SECRETS_KEY", "A" * 43 + "=")
    write(broken)
    with pytest.raises(SettingsError) as refused:
        load()
    assert CANARY not in "".join(traceback.format_exception(refused.value))
    assert CANARY not in repr(refused.value)
    assert CANARY not in rota.refused("config", "show")


@pytest.mark.parametrize("broken", [f"api: {CANARY}\n  b: c", f"redis: {{password: '{CANARY}"])
def test_secrets_do_not_come_out_of_broken_yaml(problems, broken):
    assert CANARY not in str(problems(broken, "rota.yaml"))


def test_keys_that_encrypt_do_not_come_out(problems, monkeypatch):
    for name in ("ROTA_SECRETS_KEY", "ROTA_SECRETS_KEY_FILE"):
        monkeypatch.setenv(name, CANARY)
    assert CANARY not in problems('[redis]\npassword = "enc:x"')[0].replace(f"{CANARY} cannot be read", "")
    os.environ.pop("ROTA_SECRETS_KEY_FILE")
    assert CANARY not in problems('[redis]\npassword = "enc:x"')[0]


def test_the_tree_of_defaults_has_no_secret():
    found = Settings()
    assert [found.spoken(key) for key in found.flat() if "password" in key or "secret" in key] == ["", "", ""]

"""Encrypted values: `enc:` and a Fernet token. The keys are outside of the settings; the first one encrypts."""

import os
import re
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from rota.domain.errors import Invalid

MARK = "enc:"
KEY, KEY_FILE = "ROTA_SECRETS_KEY", "ROTA_SECRETS_KEY_FILE"


def new_key() -> str:
    """A fresh key, as text."""
    return Fernet.generate_key().decode()


def keys() -> MultiFernet:
    """The keys of ROTA_SECRETS_KEY and of the file that ROTA_SECRETS_KEY_FILE names. Raises `Invalid`."""
    text = os.environ.get(KEY, "")
    if name := os.environ.get(KEY_FILE):
        try:
            text += "\n" + Path(name).read_text(encoding="ascii")
        except (OSError, ValueError):
            raise Invalid(KEY_FILE, f"{name} cannot be read; it holds keys, one a line, the newest first") from None
    words = [word for word in re.split(r"[\s,]+", text) if word]
    if not words:
        raise Invalid(KEY, f"there is no key; make one with `rota secrets key`, and set {KEY} or {KEY_FILE}")
    try:
        return MultiFernet([Fernet(word) for word in words])
    except ValueError:
        raise Invalid(KEY, f"one of its keys (or of {KEY_FILE}) is none; `rota secrets key` makes them") from None


def encrypt(value: str) -> str:
    """A value as it may stand in a file; an encrypted one is encrypted anew by the first key. Raises `Invalid`."""
    if value.startswith(MARK):
        value = decrypt(value)
    return MARK + keys().encrypt(value.encode()).decode()


def decrypt(value: str) -> str:
    """What an `enc:` value hides. Raises `Invalid`."""
    try:
        return keys().decrypt(value.removeprefix(MARK)).decode()
    except InvalidToken:
        raise Invalid("", f"cannot be decrypted by any key of {KEY} or {KEY_FILE}; `rota secrets encrypt` it") from None

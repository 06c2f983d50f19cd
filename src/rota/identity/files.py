"""Private files: readable by their owner alone, or refused."""

import json
import os
import secrets
from pathlib import Path

from rota.domain.errors import Invalid

MODE = 0o600
OTHERS = 0o077


def private(path: Path) -> str | None:
    """The text of a private file, None where there is none. Raises `Invalid` for one that others may read."""
    try:
        with path.open(encoding="utf-8") as file:
            if os.fstat(file.fileno()).st_mode & OTHERS:
                raise Invalid(str(path), f"can be read by others; `chmod 600 {path}`, and make its content anew")
            return file.read().strip()
    except FileNotFoundError:
        return None


def write_private(path: Path, text: str, anew: bool = True) -> bool:
    """Write a private file whole or not at all; whether it was written: not where one is and `anew` is False."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE), "w", encoding="utf-8") as file:
            file.write(f"{text}\n")
            file.flush()
            os.fsync(file.fileno())
        if anew:
            fresh.replace(path)
        else:
            os.link(fresh, path)
    except FileExistsError:
        return False
    finally:
        fresh.unlink(missing_ok=True)
    return True


def signing_secret(beside: Path) -> bytes:
    """The secret in a private file, which is made where there is none; several processes agree on one."""
    if private(beside) is None:
        write_private(beside, secrets.token_urlsafe(48), anew=False)
    return (private(beside) or "").encode()


def credentials(path: Path) -> dict[str, str]:
    """Keys by the address of their server, from a private file. Raises `Invalid` for one that cannot be read."""
    text = private(path) or "{}"
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(one, str) for one in found.values()):
        raise Invalid(str(path), "is no file of credentials; delete it, and `rota login` again")
    return found


def keep_credential(path: Path, server: str, key: str) -> None:
    """Add or replace the key of a server."""
    write_private(path, json.dumps(credentials(path) | {server: key}, indent=2))

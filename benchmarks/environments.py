"""An environment for each peer, with the versions of its `.txt`, in the user's cache: no peer ever meets Rota's own."""

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

from benchmarks.field import file_of

PEERS = Path(__file__).parent / "peers"


def pins(peer: str) -> Path:
    """The versions of a peer and of all that it needs."""
    return PEERS / f"{file_of(peer)}.txt"


def python(peer: str) -> Path:
    """The peer's interpreter, in an environment made now unless there is one of exactly these versions."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    wanted = sha256(pins(peer).read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = cache / "rota-peers" / f"{file_of(peer)}-{wanted}"
    interpreter, complete = folder / "bin" / "python", folder / "complete"
    if not complete.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        pip = [str(interpreter), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
        subprocess.run([*pip, "--requirement", str(pins(peer))], check=True)
        complete.touch()
    return interpreter

"""Which file of settings a program has, if any."""

import os
from pathlib import Path

from rota.domain.errors import Invalid

PREFIX, SPLIT = "ROTA_", "__"
USUAL = ("rota.toml", "rota.yaml", "rota.yml")


def usual_file() -> Path | None:
    """The file that ROTA_CONFIG names (/dev/null: none), else that of this folder. Raises `Invalid` for two."""
    if named := os.environ.get("ROTA_CONFIG"):
        return Path(named) if named != os.devnull else None
    found = [name for name in USUAL if Path(name).is_file()]
    if len(found) > 1:
        raise Invalid("config", f"there are {' and '.join(found)} here; name one by --config or ROTA_CONFIG")
    return Path(found[0]) if found else None

"""Settings: one tree, read from command line, environment, secrets directory and file; see docs/configuration.md.

Begin with `load.py`, which asks the sources, and `tree.py`, which says what can be set. This module is cheap to import:
programs without settings do not pay for the library that checks them.
"""

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from rota.settings.place import PREFIX, SPLIT, usual_file

if TYPE_CHECKING:
    from rota.settings.load import Loaded
    from rota.settings.tree import Settings


def here(config: Path | None = None, environment: str = "") -> "Loaded | None":
    """The settings of this program; None where nobody set anything. Raises `Invalid`."""
    named = any(name.startswith(PREFIX) and SPLIT in name for name in os.environ) or "ROTA_SECRETS_DIR" in os.environ
    if not config and not environment and not named and usual_file() is None:
        return None
    from rota.settings.load import load

    return load(config, environment)


def set_level(settings: "Settings") -> None:
    """Log from this level on."""
    logging.getLogger("rota").setLevel(settings.observability.log_level.upper())

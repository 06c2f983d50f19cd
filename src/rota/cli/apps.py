"""Finding the user's app by `module:attribute`."""

import os
import sys
from importlib import import_module
from operator import attrgetter

from rota.domain.errors import Invalid
from rota.embed import Rota


def load_app(target: str) -> Rota:
    """The app that `module:attribute` names, looked for from the current folder on. Raises `Invalid`."""
    module, _, attribute = target.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = attrgetter(attribute or "app")(import_module(module))
    except ModuleNotFoundError as error:
        if error.name and f"{module}.".startswith(f"{error.name}."):
            raise Invalid(
                "app", f"there is no module {module!r} here; write module:attribute, such as jobs:app"
            ) from None
        raise Invalid("app", f"{module!r} cannot be imported: {error}") from error
    except AttributeError as error:
        raise Invalid("app", f"{target!r} names nothing: {error}") from error
    except Exception as error:
        raise Invalid("app", f"{module!r} cannot be imported: {type(error).__name__}: {error}") from error
    if not isinstance(found, Rota):
        raise Invalid("app", f"{target!r} is a {type(found).__name__}, not a Rota app")
    return found

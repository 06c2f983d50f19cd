"""Texts of a certain form: the pattern, which the spec shows too, and what is said of a text that has another form."""

from typing import Annotated, Any

from pydantic import Field

from rota.domain.names import NAME, not_a_name

PATTERN = f"^{NAME.pattern}$"
NO_NUL = r"^[^\x00]*$"
ID = "^[0-9a-f]{32}$"
TOKEN = "^[0-9a-f]{16,32}$"  # noqa: S105 - the form of its public part
_PERHAPS, _SPACE = f"^({NAME.pattern})?$", rf"^(\*|{NAME.pattern})$"
_PERHAPS_ID, _PART = "^([0-9a-f]{32})?$", "^[0-9a-f]{0,32}$"

NameText = Annotated[str, Field(pattern=PATTERN)]
NameOrNone = Annotated[str, Field(pattern=_PERHAPS)]
Space = Annotated[str, Field(pattern=_SPACE, description="`*`: all of them.")]
RunId = Annotated[str, Field(pattern=ID)]
RunIdOrNone = Annotated[str, Field(pattern=_PERHAPS_ID)]
Prefix = Annotated[str, Field(pattern=_PART, description="First digits of ids.")]
Suffix = Annotated[str, Field(pattern=_PART, description="Last digits of ids.")]
Text = Annotated[str, Field(max_length=200)]
Searched = Annotated[Text, Field(pattern=NO_NUL)]

_NAMES = {PATTERN: "", _PERHAPS: "", _SPACE: "; * is all of them"}
_SAID = {
    **dict.fromkeys((ID, _PERHAPS_ID), "an id has 32 hex digits"),
    TOKEN: "the id of a token has 16 to 32 hex digits",
    _PART: "a part of an id has up to 32 hex digits",
    NO_NUL: "text cannot hold NUL",
}


def said_of(pattern: str, text: Any) -> str:
    """What is wrong with a text that has not this form; empty for a pattern that is none of these."""
    return not_a_name(text) + _NAMES[pattern] if pattern in _NAMES else _SAID.get(pattern, "")

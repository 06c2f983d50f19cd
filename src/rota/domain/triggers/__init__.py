"""Triggers: pure rules that say at which instants something is due (ms since the epoch, UTC)."""

from rota.domain.errors import InvalidTrigger
from rota.domain.triggers.base import Trigger
from rota.domain.triggers.combine import AllOf, AnyOf, Except
from rota.domain.triggers.cron import Cron
from rota.domain.triggers.plain import Interval, Once
from rota.domain.triggers.reading import from_json, parse

__all__ = ["AllOf", "AnyOf", "Cron", "Except", "Interval", "InvalidTrigger", "Once", "Trigger", "from_json", "parse"]

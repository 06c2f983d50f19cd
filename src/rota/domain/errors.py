"""All errors that Rota raises for its callers."""


class RotaError(Exception):
    """Base of every error that Rota raises on purpose."""


class Invalid(RotaError, ValueError):
    """What was given cannot be accepted; `field` says where, the message what to write instead."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field
        self.message = message


class InvalidTrigger(Invalid):
    """A trigger that cannot be read or can never fire."""


class TooLarge(Invalid):
    """A payload, result or name over its limit."""


class NotFound(RotaError, LookupError):
    """No such task, schedule, run, queue or worker. `kind` and `name` say which."""

    def __init__(self, kind: str, name: str, remedy: str = "") -> None:
        super().__init__(f"no {kind} {name!r}" + (f"; {remedy}" if remedy else ""))
        self.kind = kind
        self.name = name


class Refused(RotaError):
    """The state of things forbids it: a finished run, a taken name, another body for the same key."""


class Changed(Refused):
    """It is not any more as whoever wants to change it has read it. Nothing was changed."""


class Forbidden(RotaError):
    """The asker may see the thing, but not do this to it, or gives what is not theirs."""


class Barred(RotaError):
    """The credential shown opens nothing (any more): unknown, revoked, expired, or without the right. Ask no more."""


class Stale(RotaError):
    """A write by a leader whose term is over. Nothing was changed."""


class Unclear(RotaError):
    """No answer came: the write may or may not have happened; look again."""


class RunFailed(RotaError):
    """The awaited run ended without success; `state` and `reason` tell how."""

    def __init__(self, run_id: str, state: str, reason: str, error: str) -> None:
        super().__init__(f"run {run_id} ended as {state} ({reason})" + (f": {error}" if error else ""))
        self.run_id, self.state, self.reason, self.error = run_id, state, reason, error


class StoreError(RotaError):
    """The store cannot serve."""


class Unavailable(StoreError):
    """For now: locked, full, read-only, not reachable. Nothing acknowledged is lost, try again."""


class Incompatible(StoreError):
    """For good: its data is damaged, or of a newer version of Rota."""

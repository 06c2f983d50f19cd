"""Observe: facts out, as metrics, log lines and traces. Nothing here can hold up or harm a run."""

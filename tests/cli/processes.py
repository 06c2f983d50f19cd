import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

LONGEST_S = 60.0


class Process:
    """A command as a process of its own, whose lines are read one by one; killed should it hang."""

    def __init__(
        self, folder: Path, args: Sequence[str], env: Mapping[str, str], program: Sequence[str] = ("-m", "rota")
    ) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ROTA_")}
        self._popen = subprocess.Popen(
            [sys.executable, *program, *args],
            cwd=folder,
            # Any free port: several of them run at once.
            env={**kept, "ROTA_API__PORT": "0", **env, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._guard = threading.Timer(LONGEST_S, self._popen.kill)
        self._guard.start()

    @property
    def pid(self) -> int:
        return self._popen.pid

    def until(self, text: str, errors: bool = False) -> list[str]:
        """The lines up to the one that holds `text`."""
        stream = self._popen.stderr if errors else self._popen.stdout
        assert stream
        lines: list[str] = []
        while not lines or text not in lines[-1]:
            line = stream.readline()
            if not line:
                _, err = self._popen.communicate()
                raise AssertionError(f"ended without {text!r}, after {lines}: {err}")
            lines.append(line.rstrip("\n"))
        return lines

    def tell(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def has_ended_within(self, seconds: float) -> bool:
        try:
            self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def ended(self) -> tuple[int, str, str]:
        """Exit code and the rest of what it said, once it has ended."""
        out, err = self._popen.communicate()
        return self._popen.returncode, out, err

    def end(self) -> None:
        self._guard.cancel()
        if self._popen.poll() is None:
            self._popen.kill()
        self._popen.communicate()

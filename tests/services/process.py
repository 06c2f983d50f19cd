"""What servers of tests have in common: a process of one's own, that can be ended and stand still."""

import signal
import subprocess


class Owned:
    """Whoever has it starts it."""

    process: "subprocess.Popen[bytes] | None" = None

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it; SIGKILL ends it as a crash would."""
        if self.process:
            self.process.send_signal(number)
            self.process.wait(60)
            self.process = None

    def freeze(self) -> None:
        """Let it stand still until `thaw`."""
        if self.process:
            self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        if self.process:
            self.process.send_signal(signal.SIGCONT)

"""What ends a command: a caller's mistake, or a signal. What the code promised is an `assert`."""

import signal
from collections.abc import Iterable


class CallerError(ValueError):
    """Something the caller can mend: one line naming the value, the place and the valid choices.

    Scripts in `launch/` print the line and end with exit code 2, without a traceback.
    """


class Interrupted(KeyboardInterrupt):
    """A signal ended the command: Ctrl-C, or what a log-out and systemd send.

    Scripts in `launch/` end with the exit code that a shell gives it, 128 + its number.
    """

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__(number)
        self.number = number


def choices(valid: Iterable[object]) -> str:
    """Return names as the sorted, comma-separated tail of an error line."""
    return ", ".join(sorted(str(name) for name in valid))

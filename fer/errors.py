"""Exceptions that end a command: a caller's mistake, or a signal. Invariants are asserted."""

import signal
from collections.abc import Iterable


class CallerError(ValueError):
    """A mistake the caller can fix: one line naming the value, the place and the valid choices.

    Scripts in `launch/` print the line and end with exit code 2, without a traceback.
    """


class CallerLines(CallerError):
    """A mistake that takes some lines to explain, none of which holds text from a file."""


class Unavailable(RuntimeError):
    """A service does not respond: no mistake of the caller, and the same command may succeed later.

    Scripts in `launch/` print the line and end with exit code 1, without a traceback.
    """


class Interrupted(KeyboardInterrupt):
    """A signal ended the command: Ctrl-C, or what a logout or systemd sends.

    Scripts in `launch/` exit with 128 + the signal number, as a shell does.
    """

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__(number)
        self.number = number


def choices(valid: Iterable[object]) -> str:
    """Return names as the sorted, comma-separated tail of an error line."""
    return ", ".join(sorted(str(name) for name in valid))


def noun_for(count: int, noun: str) -> str:
    """Return the form of a noun for a count: `run` for 1, else `runs`."""
    irregular = {"person": "people", "family": "families", "process": "processes",
                 "entry": "entries"}
    return noun if count == 1 else irregular.get(noun, noun + "s")


def plural(count: int, noun: str) -> str:
    """Return a count with its noun: `1 run`, `2 runs`."""
    return f"{count} {noun_for(count, noun)}"

"""The one exception for a caller's mistake; what the code promised itself is an `assert`."""

from collections.abc import Iterable


class CallerError(ValueError):
    """Something the caller can mend: one line naming the value, the place and the valid choices.

    Scripts in `launch/` print the line and end with exit code 2, without a traceback.
    """


def choices(valid: Iterable[object]) -> str:
    """Return names as the sorted, comma-separated tail of an error line."""
    return ", ".join(sorted(str(name) for name in valid))

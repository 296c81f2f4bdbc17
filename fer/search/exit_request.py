"""The request that the trials of a search save and exit: by a signal to its driver."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from fer.search.ray_local import LEAVING
from fer.search.trial_record import Key

LEAVE_S = 100.0  # maximum wait for trials to save and exit


class ExitRequest:
    """Whether the trials are to save and exit, and whether they have.

    Args:
        file: shows the request to the processes of the trials.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.requested = False
        self._at = 0.0  # when `answered` saw the request first
        self._waited_for: set[Key] = set()

    @contextmanager
    def by_signals(self, already: bool) -> Iterator[None]:
        """Let a signal in this block make the request; a second one acts as usual.

        Args:
            already: the request was made before.
        """
        def request(number: int, frame: FrameType | None) -> None:
            self.requested = True
            self.file.touch()
            for one, handler in before.items():
                signal.signal(one, handler)

        before = {number: signal.signal(number, request) for number in LEAVING}
        if already:
            request(0, None)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def answered(self, running: set[Key]) -> bool:
        """Return whether no trial must be waited for: those running at the request save first.

        True where nothing was requested.
        """
        if not self.requested:
            return True
        if not self._at:
            self._at, self._waited_for = time.monotonic(), set(running)
        self._waited_for &= running  # not those that Tune starts instead
        return not self._waited_for or time.monotonic() - self._at > LEAVE_S

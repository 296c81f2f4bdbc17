"""Deferred handling of signals that end a launcher.

Not for jobs, which save and exit (`fer.cluster.worker.StopFlag`).
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from fer.errors import Interrupted

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass
class ReceivedSignals:
    """The received signals, in order."""

    numbers: list[int] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.numbers)

    def interruption(self) -> Interrupted:
        """Return the exception for the first signal."""
        return Interrupted(self.numbers[0])


@contextmanager
def deferred_signals() -> Iterator[ReceivedSignals]:
    """Record Ctrl-C, SIGTERM and SIGHUP while the block runs, instead of raising at any line.

    Ignored signals, as with `nohup`, stay ignored. Has no effect outside the main thread.
    """
    noted = ReceivedSignals()
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return
    before = {number: signal.getsignal(number) for number in ENDING}
    for number, handler in before.items():
        if handler not in (signal.SIG_IGN, None):
            signal.signal(number, lambda number, _: noted.numbers.append(number))
    try:
        yield noted
    finally:
        for number, handler in before.items():
            if handler is not None:  # None: not installed by Python
                signal.signal(number, handler)

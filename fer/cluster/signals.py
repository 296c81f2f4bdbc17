"""Signals that end a launcher: noted where they come, acted upon where it suits.

Not for jobs, which save and leave (`fer.cluster.worker.StopFlag`).
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
    """The signals that came, in their order."""

    numbers: list[int] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.numbers)

    def interruption(self) -> Interrupted:
        """Return what ends the command as the first of them asked for."""
        return Interrupted(self.numbers[0])


@contextmanager
def deferred_signals() -> Iterator[ReceivedSignals]:
    """Note Ctrl-C, SIGTERM and a hang-up while the block runs, instead of ending at any line.

    One that is ignored, as by `nohup`, stays so. Without effect outside the main thread.
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
            if handler is not None:  # not Python's
                signal.signal(number, handler)

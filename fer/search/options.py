"""What was typed after `launch/tune.py`; goes through JSON to the job of a search."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Asked:
    """A search to be done.

    Attributes:
        resume: only go on with a search that has begun.
        retry: try failed trials again.
        slots: trials at a time; 0 for as many as fit.
    """

    file: str
    overrides: tuple[str, ...] = ()
    resume: bool = False
    retry: bool = False
    slots: int = 0

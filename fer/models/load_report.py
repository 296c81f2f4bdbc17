"""What was loaded from a weights file and what was not, in three lines or whole."""

from collections.abc import Sequence
from dataclasses import dataclass

MOST_NAMED = 3  # tensors of a line


@dataclass(frozen=True)
class LoadReport:
    """The tensors that were and were not loaded from a state dict.

    Attributes:
        missing: tensors of the model that are not in the file; they keep their values.
        unexpected: tensors of the file that are not in the model.
        reshaped: tensors with different shapes in both; the model's keep their values.
        head_lost: whether the head was not loaded; its keys are then in none of the lists.
        source: where in the file the state dict was; empty if the file is one.
        adapted: tensors that were made to fit: name, both shapes, and how.
        matched: number of the model's tensors before the head that were loaded, of `tensors`.
        share: of the model's weights before the head, counted as numbers.
    """

    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    reshaped: tuple[str, ...] = ()
    head_lost: bool = False
    source: str = ""
    adapted: tuple[str, ...] = ()
    matched: int = 0
    tensors: int = 0
    share: float = 1.0

    def __str__(self) -> str:
        return self._text(most=MOST_NAMED)

    def whole(self) -> str:
        """Return the report with all keys."""
        return self._text(most=None)

    def lines(self, most: int | None = MOST_NAMED) -> list[str]:
        """Return what was matched, what was left out, and what was made to fit: a line each.

        Args:
            most: names in a list; None for all.
        """
        matched = (f"matched {self.matched} of {self.tensors} tensors before the head, "
                   f"{_percent(self.share)} of its weights")
        lost = self._lost(most)
        return [", ".join([matched, *([f"read {self.source}"] if self.source else [])]),
                f"left out: {'; '.join(lost) or 'nothing'}",
                f"made to fit: {_listed(self.adapted, most) or 'nothing'}"]

    def _text(self, most: int | None) -> str:
        read = [f"read {self.source}"] if self.source else []
        adapted = [f"{len(self.adapted)} made to fit: {_listed(self.adapted, most)}"
                   ] if self.adapted else []
        return "; ".join([*read, *(self._lost(most) or ["all tensors loaded"]), *adapted])

    def _lost(self, most: int | None) -> list[str]:
        lost = ["the head was dropped and starts from random weights"] if self.head_lost else []
        for name in ("missing", "unexpected", "reshaped"):
            if keys := getattr(self, name):
                lost.append(f"{len(keys)} {name}: {_listed(keys, most)}")
        return lost


def _listed(names: Sequence[str], most: int | None) -> str:
    shown = names[:most]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return ", ".join(shown) + more


def _percent(share: float) -> str:
    """Return a share in percent, rounded down, so that 100 % is all."""
    return f"{int(share * 1000) / 10:g} %"

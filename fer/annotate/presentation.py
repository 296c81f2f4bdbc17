"""The order in which one annotator sees the pictures of a round, and which ones twice.

A function of the seed, the annotator, the round and the picture's path, so that it is the same
after any restart, and pictures that are added later do not change the order of the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fer.data.stable_hash import key, text_word

APART = 10  # pictures between the two showings of one, where there are enough


@dataclass(frozen=True)
class Item:
    """One picture to label; `showing` is 2 where it is shown again."""

    picture: str
    showing: int = 1


def presentation(pictures: Sequence[str], annotator: str, round_name: str, seed: int,
                 repeated: float) -> list[Item]:
    """Return the items of a round in the order of one annotator.

    Args:
        pictures: of the round, in any order.
        annotator: whose order differs from everybody else's.
        repeated: share of the pictures that are shown twice, 0 to 1; the second showing is at
            least `APART` pictures after the first where the round is long enough.
    """
    start = key(seed, text_word(annotator), text_word(round_name))
    order = sorted(pictures, key=lambda one: (key(start, text_word(one)), one))
    apart = min(APART, len(order) // 2)
    early = range(max(len(order) - apart, 0))  # the others cannot be shown again apart
    again = sorted(early, key=lambda at: key(start, 1, text_word(order[at])))
    placed = [(float(at), Item(picture)) for at, picture in enumerate(order)]
    for at in again[: round(repeated * len(order))]:
        chance = key(start, 2, text_word(order[at])) / 2**64
        placed.append((at + apart + 0.5 + int(chance * (len(order) - at - apart)),
                       Item(order[at], 2)))
    return [item for _, item in sorted(placed, key=lambda one: one[0])]

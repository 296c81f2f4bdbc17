"""Possible problems of how faces are framed, by the measures of `fer.data.faces.framing`."""

from collections.abc import Mapping

from fer.data.faces.framing import Framing, difference
from fer.data.verify.findings import Finding

MOST_WITHOUT = 0.2  # share of a split's pictures without a face


def other_framing(framing: Mapping[str, Framing], twin_of: Mapping[str, str]) -> list[Finding]:
    """Find splits that are compared with each other but framed differently.

    Compared are the real with the synthetic pictures, and masked copies with their originals. Real
    are the splits of a set that is no masked copy, and is only tested on or has `unmasked` pictures
    from the same source. Synthetic are masked copies, and their originals.

    Args:
        framing: `real/test` -> its framing.
        twin_of: set name -> the set of which it is a masked copy.
    """
    family = {*twin_of, *twin_of.values()}
    real = [split for split in framing if _is_real(split.partition("/")[0], framing, family)]
    others = {split: [one for one in framing if one.partition("/")[0] in family] for split in real}
    others |= {split: [one for one in framing if split.startswith(f"{name}/")
                       and one == f"{original}/{split.partition('/')[2]}"]
               for name, original in twin_of.items() for split in framing
               if split.startswith(f"{name}/")}
    found = []
    for split, ones in others.items():
        said = {one: text for one in ones if (text := difference(framing[one], framing[split]))}
        if said:
            found.append(Finding(
                "other framing", f"{next(iter(said))} and {split}", len(said),
                f"{next(iter(said.values()))}: the difference would be part of the gap; align "
                "them: data.py align", tuple(f"{one}: {text}" for one, text in said.items())))
    return found + [
        Finding("no face", split, 1, f"no face is found in {one.without:.0%} of "
                f"{one.looked_at} pictures", grave=False)
        for split, one in framing.items() if one.without > MOST_WITHOUT]


def _is_real(name: str, framing: Mapping[str, Framing], family: set[str]) -> bool:
    splits = {split.partition("/")[2] for split in framing if split.partition("/")[0] == name}
    return name not in family and ("unmasked" in splits or
                                   ("test" in splits and "train" not in splits))

"""Packs in the cache, and which of them are outdated because pictures were changed or removed.

Nothing is deleted: another configuration, or a study running elsewhere, may still use them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fer.data.pack import DamagedPack, Pack


@dataclass(frozen=True)
class Stored:
    """One pack: its folder, its bytes on disk, and whether its pictures are unchanged."""

    folder: Path
    size: int
    current: bool


def stored_packs(cache: Path) -> list[Stored]:
    """Return the packs below `cache`, sorted by name, without unfinished ones."""
    folders = sorted(place for place in (cache / "packs").glob("[!.]*") if place.is_dir())
    return [Stored(folder, sum(file.stat().st_size for file in folder.iterdir()), _current(folder))
            for folder in folders]


def _current(folder: Path) -> bool:
    """Return whether all pictures exist and none is newer than the pack."""
    try:
        files = Pack.open(folder).index().column("file").to_pylist()
        made = (folder / "meta.json").stat().st_mtime_ns
        return all(Path(file).stat().st_mtime_ns <= made for file in files)
    except (DamagedPack, OSError):
        return False


def lines_about(packs: Sequence[Stored]) -> list[str]:
    """Return a summary line, and a second line if some packs are outdated."""
    if not packs:
        return []
    old = [pack for pack in packs if not pack.current]
    found = [f"packs: {len(packs)} of {_gigabytes(packs)} in {packs[0].folder.parent}"]
    if old:
        found.append(f"packs whose pictures were changed or removed: {len(old)} of "
                     f"{_gigabytes(old)}, can be removed if no study on other data uses them: "
                     + " ".join(str(pack.folder) for pack in old))
    return found


def _gigabytes(packs: Sequence[Stored]) -> str:
    return f"{sum(pack.size for pack in packs) / 1e9:.2f} GB"

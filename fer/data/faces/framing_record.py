"""What `data.py verify` measured, for the report: the framing of a split by its pictures' files."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from fer.atomic_io import write_json
from fer.data.faces.framing import Framing
from fer.untrusted_io import read_json

FILE = "framing.json"
MOST = 1000  # splits


def remember(cache: Path, splits: Mapping[str, Sequence[Path]], framing: Mapping[str, Framing]
             ) -> None:
    """Add the framing of splits to the record in `$FER_CACHE`.

    Args:
        splits: `lfw/train` -> the files of its pictures.
        framing: the same splits -> what was measured.
    """
    known = _read(cache)
    known |= {_key(splits[split]): str(one) for split, one in framing.items()}
    cache.mkdir(parents=True, exist_ok=True)
    write_json(cache / FILE, dict([*known.items()][-MOST:]))


def recall(cache: Path, files: Sequence[Path]) -> str:
    """Return the framing of a split in words; empty if these files were not measured."""
    return _read(cache).get(_key(files), "")


def _read(cache: Path) -> dict[str, str]:
    try:
        found = read_json(cache / FILE)
    except (OSError, ValueError):  # it is measured again
        return {}
    return found if isinstance(found, dict) else {}


def _key(files: Sequence[Path]) -> str:
    state = sha256()
    for file in sorted(files):
        try:
            size = file.stat().st_size
        except OSError:
            size = 0
        state.update(f"{file}\0{size}\n".encode())
    return state.hexdigest()[:32]

"""A table of boxes that people drew or corrected, which `data.py align` takes instead of searching.

The points of a face whose box nobody moved are the detector's, where one is installed. In any other
box they are those of an upright frontal face that fills it.
"""

from collections.abc import Sequence
from pathlib import Path

from fer.data.faces.boxes import Box, is_box, overlap
from fer.data.faces.detector import Face
from fer.data.faces.face_points import TEMPLATES
from fer.data.ingest.picture_table import read_rows
from fer.data.metadata import EDGES
from fer.errors import CallerError

SAME = 0.99  # overlap of boxes that differ by rounding only; a step on the page is more


def read_boxes(table: Path) -> dict[Path, Box]:
    """Return the box in each picture of a table, by the picture's resolved path.

    Args:
        table: a CSV with the columns `file` (or `original`, as in faces.csv), relative to it, and
            `left`, `top`, `right`, `bottom`. A row with empty edges has no box.

    Raises:
        CallerError: a missing column, an edge that is no number, an empty box, a picture twice, or
            no box at all.
    """
    rows, columns = read_rows(table)
    name = "original" if "original" in columns else "file"
    if missing := [one for one in (name, *EDGES) if one not in columns]:
        raise CallerError(f"{table}: no column '{missing[0]}' among {', '.join(columns)}; boxes "
                          f"need file, {', '.join(EDGES)}")
    found: dict[Path, Box] = {}
    for line, row in enumerate(rows, 2):
        cells = [row[edge].strip() for edge in EDGES]
        if not any(cells):
            continue
        picture = (table.parent / row[name].strip()).resolve()
        if picture in found:
            raise CallerError(f"{table}:{line}: {row[name]} has a box already; remove one")
        found[picture] = _box(cells, f"{table}:{line}")
    if not found:
        raise CallerError(f"{table}: no row has a box")
    return found


def _box(cells: Sequence[str], place: str) -> Box:
    try:
        left, top, right, bottom = map(float, cells)
    except ValueError:
        raise CallerError(f"{place}: {', '.join(EDGES)} must be pixels, not "
                          f"{', '.join(cells)}") from None
    if not is_box((left, top, right, bottom)):
        raise CallerError(f"{place}: the box {', '.join(cells)} is empty")
    return left, top, right, bottom


def face_in_box(box: Box, found: Sequence[Face]) -> Face:
    """Return the face in a box: the one found that has the box, else an upright frontal one.

    Args:
        found: by the detector; empty where there is none. Another face than these has score 0.
    """
    same = next((face for face in found if overlap(face.box, box) >= SAME), None)
    if same is not None:
        return same
    left, top, right, bottom = box
    return Face(box, TEMPLATES["cropped"] * [right - left, bottom - top] + [left, top], 0.0)

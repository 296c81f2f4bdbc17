"""A training set of many masks on drawn faces: a twin of the drawn LFW-FER, `drawn/MANY-FER`.

Drawn only where something asks for it. The masks are those of `launch/data.py mask`, laid where the
drawn faces' features are.
"""

from collections.abc import Callable
from pathlib import Path

from fer.config.run import DrawnFaces
from fer.data.masks.landmarks import Faces
from fer.data.masks.masked_copy import Twin, write_twin
from fer.data.synthetic.sets import landmarks_of

FOLDER = "drawn/MANY-FER"
ORIGINAL = "drawn/LFW-FER"
SEED = 1


def write_many_masks(root: Path, spec: DrawnFaces,
                     progress: Callable[[int, int], None] | None = None) -> bool:
    """Make `root`/drawn/MANY-FER hold its training split; return whether this call drew it.

    Args:
        root: holds the drawn sets of `spec` already.
        progress: called with (pictures done, all).

    Raises:
        CallerError: other masks, or masks of other drawings, are there.
    """
    faces = Faces(table=landmarks_of(spec, "lfw_train"))
    twin = Twin(root / ORIGINAL, ("all",), SEED, faces, "the drawing's own", ("train",))
    return write_twin(twin, root / FOLDER, progress=progress) is not None

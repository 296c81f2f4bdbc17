"""A training set of many masks on drawn faces: `drawn/MANY-FER`, a masked copy of drawn LFW-FER.

Drawn only on demand. The masks are those of `launch/data.py mask`, placed at the landmarks of the
drawn faces.
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
    """Ensure the training split of `root`/drawn/MANY-FER; return whether this call drew it.

    Args:
        root: contains the drawn sets of `spec` already.
        progress: called with (pictures done, total).

    Raises:
        CallerError: it contains other masks, or masks of other drawings.
    """
    faces = Faces(table=landmarks_of(spec, "lfw_train"))
    twin = Twin(root / ORIGINAL, ("all",), SEED, faces, "the drawing's own", ("train",))
    return write_twin(twin, root / FOLDER, progress=progress) is not None

"""Which landmarks the pictures of a set have: a template's, those of a CSV, or detected ones."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer.data.masks.detect import detect, require_detector
from fer.data.masks.landmarks import (
    TEMPLATES,
    Points,
    read_landmarks,
    require_inside,
    template,
)
from fer.errors import CallerError, choices

DETECT = "detect"


@dataclass(frozen=True)
class Faces:
    """Where the landmarks of pictures come from: one of a template, a table, or detection.

    Attributes:
        template: name of a template.
        table: file -> (5, 2) pixels; the file is a path below the set or a name.
        cache: `$FER_CACHE`, where the detector's model is.
    """

    template: str = ""
    table: Mapping[str, Points] | None = None
    cache: Path | None = None

    def known(self, file: str) -> Points | None:
        """Return the points of a file in the table."""
        assert self.table is not None
        found = self.table.get(file)
        return self.table.get(os.path.basename(file)) if found is None else found

    def of(self, file: str, picture: NDArray[np.uint8]) -> Points | None:
        """Return the points of a face, None where a detector finds none.

        Raises:
            CallerError: they lie outside the picture.
        """
        height, width = picture.shape[:2]
        if self.cache is not None:
            return detect(picture, self.cache)
        if self.table is None:
            return template(self.template, width, height)
        points = self.known(file)
        assert points is not None, file
        require_inside(points, width, height, file)
        return points


def find_faces(said: str, cache: Path) -> Faces:
    """Return the landmarks that a name stands for: a template, a CSV file, or `detect`.

    Raises:
        CallerError: it is none of them, the file is no table of landmarks, or there is no detector.
    """
    if said in TEMPLATES:
        return Faces(template=said)
    if said == DETECT:
        require_detector(cache)
        return Faces(cache=cache)
    if said.lower().endswith(".csv"):
        return Faces(table=read_landmarks(Path(said)))
    raise CallerError(f"no landmarks '{said}'; a CSV file, or one of: "
                      f"{choices([*TEMPLATES, DETECT])}")

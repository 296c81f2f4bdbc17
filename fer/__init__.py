"""Facial expression recognition under masks: training, evaluation and the gap.

    from fer import load
    model = load("a run, a weights file or an exported folder")
    model("face.jpg").calibrated
"""

import sys
from importlib.machinery import ModuleSpec, PathFinder
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from fer.inference.predictor import Predictor

CODE_GONE = "the code is not there or not whole; the same command makes a new copy"


class _OnlyHere:
    """Import finder that rejects modules of this package outside this folder.

    With an editable install, the import of a module missing from an incomplete copy would
    otherwise fall back to the installed checkout and mix the two versions.
    """

    def find_spec(self, name: str, path: object = None, target: object = None
                  ) -> ModuleSpec | None:
        if name.startswith(f"{__name__}."):
            raise ModuleNotFoundError(
                f"{name} is not in {__path__[0]}: {CODE_GONE}", name=name)
        return None


# after the finder that searches this folder
sys.meta_path.insert(sys.meta_path.index(PathFinder) + 1, _OnlyHere())


def load(*models: "str | Path", accuracy: float | None = None, device: str = "auto") -> "Predictor":
    """Return a trained model for use; see `fer.inference.predictor.load`."""
    from fer.inference import predictor  # imports torch

    return predictor.load(*models, accuracy=accuracy, device=device)

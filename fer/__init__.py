"""Facial expression recognition under masks: training, evaluation and the gap."""

import sys
from importlib.machinery import ModuleSpec, PathFinder

CODE_GONE = "the code is not there or not whole; the same command makes a new copy"


class _OnlyHere:
    """Ends the search for a module of this package that does not lie beside this file.

    An editable install would go on to look in the checkout that was installed, so that a copy of
    the code that is not whole would run in part with another's.
    """

    def find_spec(self, name: str, path: object = None, target: object = None
                  ) -> ModuleSpec | None:
        if name.startswith(f"{__name__}."):
            raise ModuleNotFoundError(
                f"{name} is not in {__path__[0]}: {CODE_GONE}", name=name)
        return None


# behind the finder that looks beside this file
sys.meta_path.insert(sys.meta_path.index(PathFinder) + 1, _OnlyHere())

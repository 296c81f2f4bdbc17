"""What searches found, for a study that says `tuned`: read from `studies/<search>/best.json`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fer.atomic_io import read_json
from fer.errors import CallerError
from fer.study.expand import Kind


def read_tuned(names: Sequence[str], studies: Path) -> dict[Kind, dict[str, Any]]:
    """Return (backbone, recipe) -> the best overrides of each search.

    Args:
        names: of searches. studies: the folder in which theirs are.

    Raises:
        CallerError: a search has found nothing yet, or two are for the same backbone and recipe.
    """
    found: dict[Kind, dict[str, Any]] = {}
    for name in names:
        try:
            best = read_json(studies / name / "best.json")
            kind = (str(best["backbone"]), str(best["recipe"]))
            params = dict(best["params"])
        except (OSError, ValueError, KeyError, TypeError):
            raise CallerError(f"tuned: search '{name}' has found nothing under {studies / name}; "
                              "run it first: python launch/tune.py FILE") from None
        if kind in found:
            raise CallerError(f"tuned: two searches for {' with '.join(kind)}; name one of them")
        found[kind] = params
    return found

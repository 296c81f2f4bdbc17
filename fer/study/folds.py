"""Folds by person across runs: what they validate together, and when folds are recommended.

The configuration is in `fer.config.fold_grid`, the assignment of people in
`fer.data.identity_split`.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from hashlib import blake2b
from typing import TYPE_CHECKING

from fer.config.fold_grid import folds_advice
from fer.config.person_splits import Folds
from fer.config.run import Data, RunConfig
from fer.config.run_id import ids
from fer.errors import CallerError
from fer.evaluate.predictions import Predictions, read_predictions, stacked
from fer.study.run_folder import RunFolder, Store

if TYPE_CHECKING:
    from fer.study.inputs import InputDigests


def digest_of_folds(contents: "InputDigests", sets: Sequence[str], data: Data) -> str:
    """Return the digest of what is assigned to folds, the same for every fold."""
    assert data.folds is not None
    of = data.folds.of
    each = [data.model_copy(update={"folds": Folds(fold=fold, of=of)}) for fold in range(of)]
    parts = [contents.split(f"{name}/val", one) for name in sets for one in each]
    return blake2b(" ".join(parts).encode(), digest_size=16).hexdigest()


def advice_on_folds(configs: Iterable[RunConfig], contents: "InputDigests") -> list[str]:
    """Return a line that recommends folds if some run is validated on few people."""
    found = []
    known: dict[str, tuple[int, int]] = {}
    for config in configs:
        if config.data.folds is not None or not config.recipe.phases:
            continue
        key = f"{config.train_on} {config.data.model_dump_json()}"
        if key not in known:
            units = [{picture.unit for name in config.train_sets
                      for picture in contents.listed(f"{name}/{part}", config.data)}
                     for part in ("train", "val")]
            known[key] = len(units[0] | units[1]), len(units[1])
        if line := folds_advice(*known[key]):
            found.append((known[key][1], f"{config.train_on}: {line}"))
    return [min(found)[1]] if found else []


def other_folds(folder: RunFolder) -> list[RunFolder]:
    """Return the trained runs on all folds of a run's configuration and seed, itself included.

    Only the run itself without folds, or where others are missing.
    """
    config = folder.config
    if config.data.folds is None:
        return [folder]
    found = {config.data.folds.fold: folder}
    with suppress(CallerError):  # a parent was removed, so nobody knows what it was
        store = Store(folder.path.parents[1])
        like = _configuration(folder, store)
        for path in sorted(folder.path.parent.glob(f"{folder.name.rpartition('-')[0]}-*")):
            other = RunFolder(path)
            with suppress(CallerError):  # as above, or of another version of the project
                own = other.config
                if (other.trained and own.data.folds is not None and own.seed == config.seed
                        and _configuration(other, store) == like):
                    found.setdefault(own.data.folds.fold, other)
    return [found[fold] for fold in sorted(found)]


def _configuration(folder: RunFolder, store: Store) -> str:
    """Return the configuration id of a stored run, which its folds share.

    Raises:
        CallerError: its configuration or that of an ancestor cannot be read.
    """
    config, parents = folder.config, dict[str, str]()
    assert config.inputs is not None
    for role, run_id in config.inputs.parents.items():
        parent = store.by_id(run_id)
        if parent is None:
            raise CallerError(f"{folder.name}: its parent {run_id} is gone")
        parents[role] = _configuration(parent, store)
    return ids(config, config.inputs, parents)[1]


def validation_predictions(folder: RunFolder) -> tuple[Predictions, str]:
    """Return a run's predictions on validation, with folds those of all folds, and what they are.

    With folds, each picture is predicted by the run that was not trained on that person. All are
    needed: with some missing, or of other pictures, the run's own are returned.

    Raises:
        FileNotFoundError: there are none.
        DamagedFile: a file is damaged.
    """
    split = f"{folder.config.train_on}/val"
    own = read_predictions(folder.predictions(split))
    folds, runs = folder.config.data.folds, other_folds(folder)
    if folds is None or len(runs) < folds.of:
        return own, split
    with suppress(FileNotFoundError, ValueError):  # one is not evaluated yet, or dealt otherwise
        return pooled_predictions(runs), f"{split}, out of fold over {folds.of} folds"
    return own, split


def pooled_predictions(runs: Sequence[RunFolder]) -> Predictions:
    """Return what runs on different folds predict on validation, as one table.

    Raises:
        FileNotFoundError, ValueError: as `read_predictions` and `stacked`.
    """
    return stacked([read_predictions(run.predictions(f"{run.config.train_on}/val"))
                    for run in runs])

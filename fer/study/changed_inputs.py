"""Why a run is trained although a like one is finished: its inputs changed, or a default."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from fer.config.run import RunConfig
from fer.config.selection import kept_in_words
from fer.errors import CallerError, plural
from fer.study.expand import Run
from fer.study.inputs import InputDigests
from fer.study.run_folder import RunFolder, Store
from fer.untrusted_io import read_json

MASKED = "train.masks.on_validation"
SELECTION = frozenset({"train.select", "train.best_over", "train.average_epochs", MASKED})
DEFAULTS = frozenset({"train.epochs", "train.early_stop", "train.augment", "optim.lr",
                      "optim.weight_decay", "schedule.warmup_epochs"})
"""Settings with a default that has changed."""


def folders_by_label(store: Store) -> dict[str, list[RunFolder]]:
    """Return run folders by their names without the run id, from one listing."""
    found: dict[str, list[RunFolder]] = defaultdict(list)
    for name in store.names:
        found[name.rpartition("-")[0]].append(RunFolder(store.runs / name))
    return found


def why_again(run: Run, finished: Mapping[str, Sequence[RunFolder]], contents: InputDigests) -> str:
    """Return what changed since a run of the same configuration; empty if there is none.

    The same are also two that differ in which weights they keep and in other settings with a
    default that has changed. Of several, the one trained last. Reads only folders whose names
    differ in the run id alone.

    Args:
        finished: `folders_by_label` of the store.
    """
    folders = [folder for folder in finished.get(run.name.rpartition("-")[0], ())
               if folder.name != run.name]
    known = [(folder, differences) for folder in folders
             if folder.trained and (differences := _differences(folder, run)) is not None]
    if not known:
        return ""
    last, differences = max(known, key=lambda one: (
        not one[1], (one[0].path / "train.json").stat().st_mtime))
    changes = differences or _changes(last, run, contents)
    return f"{last.path.name} is finished, but {'; '.join(changes)}"


def lines_again(runs: Sequence[Run], store: Store, contents: InputDigests) -> list[str]:
    """Return a line for each of some runs that are trained although a like one is finished."""
    finished = folders_by_label(store)
    return [f"{run.name} is trained: {why}" for run in runs
            if (why := why_again(run, finished, contents))]


def _differences(folder: RunFolder, run: Run) -> list[str] | None:
    """Return how two configurations differ; None if they are not of the same cell of a study."""
    try:
        config = folder.config
    except CallerError:  # of another version of the project
        return None
    if config.inputs is None:
        return None
    old, new = _flat(_plain(config)), _flat(_plain(run.config))
    keys = {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
    if not keys:
        return []
    if not keys & SELECTION or not all(key in SELECTION or key in DEFAULTS for key in keys):
        return None
    lines = [f"{key} is {new.get(key)}, not {old.get(key)}" for key in sorted(keys - SELECTION)]
    before, now = kept_in_words(config), kept_in_words(run.config)
    if before != now:
        lines.insert(0, f"it keeps {before} and this one {now}")
    if MASKED in keys:
        lines.insert(0, "it was validated without the masks of training")
    return lines


def _flat(tree: Mapping[str, object], above: str = "") -> dict[str, object]:
    """Return the values of a tree by dotted keys."""
    found: dict[str, object] = {}
    for key, value in tree.items():
        found |= (_flat(value, f"{above}{key}.") if isinstance(value, Mapping)
                  else {f"{above}{key}": value})
    return found


def _plain(config: RunConfig) -> Mapping[str, object]:
    """Return what a configuration says of training, without its inputs and places of data."""
    return config.model_dump(mode="json", exclude={
        "inputs": True, "name": True, "evaluate_on": True, "compute": True, "keep": True,
        "parents": True, "data": {"sets", "drawn", "shared_people"},
        "backbone": {"label"}, "recipe": {"label", "defaults"}})


def _changes(folder: RunFolder, run: Run, contents: InputDigests) -> list[str]:
    old, new = folder.config.inputs, run.config.inputs
    assert old is not None and new is not None
    counts = _pictures(folder)
    lines = []
    for name in sorted(old.digests.keys() | new.digests.keys()):
        if old.digests.get(name) == new.digests.get(name):
            continue
        more = (contents.pictures(name, run.config.data) - counts[name]
                if name in new.splits and name in counts else 0)
        lines.append(f"{name}: {plural(abs(more), 'picture')} {'more' if more > 0 else 'fewer'}"
                     if more else f"{name} has changed")
    lines += [f"its {role} is trained again" for role, parent in sorted(new.parents.items())
              if old.parents.get(role) != parent]
    return lines or ["the code computes other numbers now"]


def _pictures(folder: RunFolder) -> Mapping[str, int]:
    """Return the number of pictures of each split then, if the run recorded it."""
    try:
        found = read_json(folder.path / "env.json").get("pictures", {})
    except (OSError, ValueError, AttributeError):
        return {}
    return found if isinstance(found, dict) else {}

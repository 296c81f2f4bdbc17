"""Why a run is trained although one of the same configuration is finished: its inputs changed."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from fer.atomic_io import read_json
from fer.config.run import RunConfig
from fer.errors import CallerError, plural
from fer.study.expand import Run
from fer.study.inputs import InputDigests
from fer.study.run_folder import RunFolder, Store


def folders_by_label(store: Store) -> dict[str, list[RunFolder]]:
    """Return run folders by their names without the run id, from one listing."""
    found: dict[str, list[RunFolder]] = defaultdict(list)
    for name in store.names:
        found[name.rpartition("-")[0]].append(RunFolder(store.runs / name))
    return found


def why_again(run: Run, finished: Mapping[str, Sequence[RunFolder]], contents: InputDigests) -> str:
    """Return what changed since a run of the same configuration; empty if there is none.

    Of several, the one trained last. Reads only folders whose names differ in the run id alone.

    Args:
        finished: `folders_by_label` of the store.
    """
    folders = [folder for folder in finished.get(run.name.rpartition("-")[0], ())
               if folder.name != run.name]
    same = [folder for folder in folders if folder.trained and _same_configuration(folder, run)]
    if not same:
        return ""
    last = max(same, key=lambda folder: (folder.path / "train.json").stat().st_mtime)
    return f"{last.path.name} is finished, but {'; '.join(_changes(last, run, contents))}"


def _same_configuration(folder: RunFolder, run: Run) -> bool:
    try:
        config = folder.config
    except CallerError:  # of another version of the project
        return False
    return config.inputs is not None and _plain(config) == _plain(run.config)


def _plain(config: RunConfig) -> Mapping[str, object]:
    """Return what a configuration says of training, without its inputs and places of data."""
    return config.model_dump(mode="json", exclude={
        "inputs": True, "name": True, "evaluate_on": True, "compute": True, "keep": True,
        "parents": True, "data": {"sets", "drawn", "shared_people"}})


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

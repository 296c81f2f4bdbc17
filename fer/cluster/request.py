"""Resolution of a command line into a study, its runs and their test splits.

Trains and submits nothing (`fer.commands.sweep`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

from fer.cluster.job_shape import idle_rules
from fer.cluster.profile_files import default_cluster, profile_at, use_places
from fer.config.load import Resolved, apply, load_study, locate, read_based, resolve
from fer.config.paths import cache, data_root, home
from fer.config.profile import Profile
from fer.config.run import Data
from fer.config.study import Study
from fer.config.validate import validate
from fer.config.yaml_io import parse_overrides
from fer.errors import CallerError
from fer.progress import shown
from fer.study.control import with_control
from fer.study.disk_space import check_room
from fer.study.expand import Run, cells, expand, idle_exclusions, place_of, unmeasured_gaps
from fer.study.folds import advice_on_folds
from fer.study.inputs import InputDigests, draw_missing_faces, drawn_sets_missing, require_sets
from fer.study.leakage import find_overlaps, refuse_overlaps, refused
from fer.study.planned_inputs import NOTE, PlannedDigests
from fer.study.study_folder import read_tuned
from fer.transfer.model_inspection import refuse_misfits

DEFAULT_STUDY = "sweeps/paper.yaml"


@dataclass(frozen=True)
class Request:
    """Command-line arguments: names and overrides, where to run, whether to retry failures.

    Attributes:
        cluster: a profile, `local`, or empty for the default.
        slots: concurrent jobs on this machine; 0 for one per GPU or one per core.
        follow: whether to wait until everything is done; otherwise this machine continues in the
            background, and a cluster needs no launcher.
        tensorboard: whether to serve TensorBoard meanwhile.
        profile_changes: `key=value` of the profile.
    """

    names: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    cluster: str = ""
    retry: bool = False
    slots: int = 0
    follow: bool = True
    tensorboard: bool = False
    profile_changes: tuple[str, ...] = ()

    def study(self) -> Study:
        """Return the named study; raise a `CallerError` if it is invalid."""
        if len(self.names) > 1:
            raise CallerError(f"one study at a time, not {', '.join(self.names)}")
        return load_study(self.names[0] if self.names else DEFAULT_STUDY,
                          parse_overrides(self.overrides))

    @property
    def place(self) -> str:
        """Where to run: `local` or the name of a profile."""
        return self.cluster or default_cluster()

    def profile(self) -> Profile | None:
        """Return the cluster's profile and apply its folders; None for this machine."""
        profile = profile_at(self.place, self.profile_changes)
        if profile is not None:
            use_places(profile)
        return profile


@dataclass(frozen=True)
class ExpandedStudy:
    """A study with its runs and their evaluation splits.

    Attributes:
        data: the data sets of the current base configuration.
        splits: `{split: content digest}` of `evaluate_on`.
    """

    study: Study
    data: Data
    runs: list[Run]
    splits: dict[str, str]
    contents: InputDigests


def expand_request(study: Study, console: Console, draw: bool = True) -> ExpandedStudy:
    """Return a study with its runs.

    Args:
        draw: whether to draw missing faces; without them run ids are provisional.

    Raises:
        CallerError: a mistake in the study, the configuration or the data.
    """
    data = _data_of(study)
    names = _sets_of(study, data)
    if provisional := not draw and drawn_sets_missing(data, data_root(), names):
        console.print(NOTE, soft_wrap=True)
    else:
        _draw(data, names, console)
    require_sets(names, data, data_root())
    check_room(cache(), "FER_CACHE")
    declared, study = study, with_control(study, data, data_root())
    contents = (PlannedDigests if provisional else InputDigests)(data_root(), cache())
    splits = {split: contents.split(split, data) for split in study.evaluate_on}
    runs = expand(study, contents, read_tuned(study.tuned, home() / "studies"))
    refuse_misfits([run.config for run in runs], cache())
    for line in [*idle_exclusions(study), *unmeasured_gaps(study),
                 *idle_rules(runs, study.resources)]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    found = find_overlaps((run.config for run in runs), splits, data, contents)
    added = [split for split in splits if split not in declared.evaluate_on]
    accepted = _accepted(study, data, added)
    if used := refused([one for one in found if one.split in added], accepted):
        console.print(f"no control of the gap: {used[0]}", markup=False, highlight=False,
                      soft_wrap=True)
        study, splits = declared, {split: splits[split] for split in declared.evaluate_on}
        found, added = [one for one in found if one.split in splits], []
    for line in [*([f"control of the gap: {' and '.join(added)}, evaluated too (gap.control: null "
                    "leaves it out)"] if added else []),
                 *refuse_overlaps(found, accepted),
                 *contents.people_warnings((run.config for run in runs), splits, data),
                 *advice_on_folds((run.config for run in runs if run.wanted), contents)]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return ExpandedStudy(study, data, runs, splits, contents)


def _accepted(study: Study, data: Data, added: Sequence[str]) -> list[str]:
    """Return the splits that may share people with training: those named, and their originals.

    The synthetic set's original, of the same people, is accepted where that set is.
    """
    pair = study.gap.pairs[0] if study.gap else None
    if pair is None or pair.control is None or pair.synthetic not in data.shared_people:
        return list(data.shared_people)
    return [*data.shared_people, *(split for split in added if split == pair.control[0])]


def _data_of(study: Study) -> Data:
    """Return the data sets of the base configuration with the study's overrides."""
    own = {key: value for key, value in study.set.items() if key.split(".")[0] == "data"}
    tree = apply(read_based(locate(study.base)), own, f"study '{study.study}': set")
    return validate(Data, tree.get("data", {}), f"study '{study.study}' on {study.base}: data")


def _sets_of(study: Study, data: Data) -> set[str]:
    """Return the names of the data sets on which a study trains and is evaluated.

    Parents' sets are included only if sets can be drawn, because all runs must be resolved.
    """
    base = read_based(locate(study.base))
    tested = {split.partition("/")[0] for split in study.evaluate_on}
    if data.drawn:
        known: Resolved = {}
        for cell in cells(study):
            place = place_of(study, cell)
            tree = apply(base, {**study.set, **cell}, place)
            tested |= resolve(tree, place, known).needed_sets
        return tested
    trees = [{**base, **study.set, **cell} for cell in cells(study)]
    return {name for tree in trees for name in str(tree.get("train_on") or "").split("+")
            if name} | tested


def _draw(data: Data, names: set[str], console: Console) -> None:
    if data.drawn is None:
        return
    with shown("drawing faces (once)") as progress:
        drawn = draw_missing_faces(data, data_root(), names, progress)
    if drawn:
        console.print(f"drew the faces below {data_root() / 'drawn'} (drawings, not people)")

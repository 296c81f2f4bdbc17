"""Evaluation of any model on any split, at any time: the command behind `launch/evaluate.py`.

Models are trained runs, or weights files such as `launch/weights.py convert` makes from original
checkpoints. Existing results for the current content of a split are reused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fer.checksums import xxh3_of
from fer.config.load import load_run
from fer.config.paths import cache, data_root, home
from fer.config.run import Data, RunConfig
from fer.console import Terminal
from fer.data.pack import Pack
from fer.data.splits import original_of
from fer.errors import CallerError, choices
from fer.evaluate.calibration import Calibration, calibrate
from fer.evaluate.predictions import DamagedFile, predictions_path, read_predictions
from fer.evaluate.saved_tables import save_tables
from fer.models.weights import describe_weights, load_model
from fer.study.disk_space import check_room
from fer.study.folds import validation_predictions
from fer.study.inputs import InputDigests, build_pack
from fer.study.leakage import find_overlaps
from fer.study.lease import LeaseTaken
from fer.study.run_folder import RunFolder, Store
from fer.study.study_folder import read_study
from fer.study.trained_runs import find_runs
from fer.train.distributed import Session, leave_group, open_session
from fer.train.error_analysis import Answers, print_answers, save_answers
from fer.train.evaluate_run import (
    PLAIN,
    Variant,
    load_checkpoint_model,
    predict_model,
    write_evaluation,
)
from fer.train.rank_failure import rank_and_world
from fer.train.run_tasks import Task, run_task
from fer.train.setup import evaluated_source

console = Terminal()
DIGITS = 10  # of a weights file's checksum, in its folder name
BASE = "configs/base.yaml"  # its data sets are used to evaluate weights files


@dataclass(frozen=True)
class Request:
    """Models and splits to evaluate.

    Attributes:
        names: run folders, names, ids, patterns, or weights files.
        studies: studies whose trained runs are evaluated as well.
        splits: splits such as `real/test`.
        data_file: a configuration whose data sets are used; empty uses each run's own.
        variant: which checkpoint, and whether to average over fixed views.
        show: maximum number of images to list.
        save: folder for metrics, probabilities, confusion matrices and images; None writes none.
    """

    names: Sequence[str]
    studies: Sequence[str]
    splits: Sequence[str]
    data_file: str
    variant: Variant
    show: int
    save: Path | None


@dataclass(frozen=True)
class Subject:
    """A model to evaluate, and the folder for its predictions: the run's own or a new one."""

    name: str
    config: RunConfig
    folder: Path
    run: RunFolder | None = None
    weights: Path | None = None


def measure_models(asked: Request) -> None:
    """Evaluate models on splits and print metrics, confusion matrices and common errors."""
    subjects = find_subjects(Store(home()), asked)
    contents = InputDigests(data_root(), cache())
    check_room(cache(), "FER_CACHE")
    for split in asked.splits:
        found = [_measure(subject, split, asked, contents) for subject in subjects]
        if rank_and_world()[0] == 0:
            answers = [Answers(subject.name, table, line) for subject, (table, line)
                       in zip(subjects, found, strict=True)]
            print_answers(split + asked.variant.suffix, answers, asked.show, console)
            if asked.save is not None:
                save_answers(asked.save, split + asked.variant.suffix, answers,
                             subjects[0].config.data, console)
                save_tables(asked.save, split + asked.variant.suffix,
                            {one.model: one.table for one in answers},
                            _calibrations(subjects) if asked.variant == PLAIN else {})
    leave_group()


def _calibrations(subjects: Sequence[Subject]) -> dict[str, Calibration]:
    """Return the calibrations of the runs with validation predictions."""
    found = {}
    for subject in subjects:
        split = f"{subject.config.train_on}/val"
        path = predictions_path(subject.folder, split)
        if subject.run is None or not path.is_file():
            continue
        try:
            table, origin = validation_predictions(subject.run)
        except DamagedFile as error:
            console.print(f"{error}: no calibrated probabilities", markup=False, soft_wrap=True)
            continue
        found[subject.name] = calibrate(table.labels, table.logits, origin)
    return found


def find_subjects(store: Store, asked: Request) -> list[Subject]:
    """Return the requested models.

    Raises:
        CallerError: a name matches no trained run and no weights file, or none is given.
    """
    override = load_run(asked.data_file) if asked.data_file else None
    files = [Path(name) for name in asked.names if Path(name).is_file()]
    runs = find_runs(store, [name for name in asked.names if not Path(name).is_file()])
    for study in asked.studies:
        runs += [folder for entry, folder in read_study(store, study).runs(store)
                 if entry.wanted and folder.trained]
    if files and asked.variant.checkpoint != PLAIN.checkpoint:
        raise CallerError(f"{files[0]}: a weights file has no checkpoints; omit --checkpoint")
    found = [_of_run(run, override) for run in {run.path: run for run in runs}.values()]
    found += [_of_file(store, path, override or load_run(BASE)) for path in files]
    if not found:
        raise CallerError("nothing to evaluate: name trained runs, --study, or a weights file")
    return found


def _of_run(run: RunFolder, override: RunConfig | None) -> Subject:
    config = run.config
    if override is not None:
        data = override.data.model_copy(update={"resplit": config.data.resplit,
                                                "folds": config.data.folds})
        config = config.model_copy(update={"data": data})
    return Subject(run.name, config, run.path, run=run)


def _of_file(store: Store, path: Path, config: RunConfig) -> Subject:
    """Return the model of a weights file, with the file's own preprocessing and classes."""
    about = describe_weights(path)
    if about.classes != config.data.classes:
        raise CallerError(f"{path}: has classes {choices(about.classes)}, the data sets "
                          f"{choices(config.data.classes)}; --data names a configuration with "
                          "its own data.classes")
    config = config.model_copy(update={"backbone": about.backbone})
    name = f"{path.stem}-{xxh3_of(path)[:DIGITS]}"  # two files may have the same name
    return Subject(name, config, store.home / "evaluations" / name, weights=path)


def _measure(subject: Subject, split: str, asked: Request,
             contents: InputDigests) -> tuple[Path, str]:
    """Write predictions and metrics of one model on one split.

    Returns:
        the path of the predictions, and notes to print with them.
    """
    data = subject.config.data
    if subject.run is not None:
        _refuse_another_deal(subject.run, split, data, contents)
    digest = contents.split(split, data)
    size = subject.config.backbone.input_size
    pack = build_pack(split, data, size, digest, contents)
    name = split + asked.variant.suffix
    path = predictions_path(subject.folder, name)
    done = RunFolder(subject.folder).evaluated(name, digest)
    with open_session(subject.config.compute) as session:
        stale = not done or (session.first and not _readable(path))
        if not session.any_rank(stale)[0]:
            return path, _notes(subject, split, digest, pack, contents)
        if subject.run is not None:
            _take(subject.run, session)
        try:
            if subject.run is not None and asked.variant == PLAIN:
                run_task(Task(subject.folder, {split: digest}, data), session)
            else:
                _answer(subject, split, name, digest, asked.variant, session)
        finally:
            if subject.run is not None and session.first:
                subject.run.lease.release()
    return path, _notes(subject, split, digest, pack, contents)


def _notes(subject: Subject, split: str, digest: str, pack: Pack, contents: InputDigests) -> str:
    """Return the notes to print with the metrics, one per line; empty if there are none."""
    lines = pack.notes(split)
    inputs = subject.config.inputs
    if inputs is not None and inputs.splits.get(split) == digest:
        how = "chosen" if split.endswith("/val") else "trained"
        lines.append(f"{subject.name} was {how} on {split}: its results there do not estimate "
                     "performance on new images")
    elif subject.run is not None:
        lines += _overlaps(subject, split, contents)
    return "\n".join(lines)


def _overlaps(subject: Subject, split: str, contents: InputDigests) -> list[str]:
    """Return what a split has in common with what a run was trained and chosen on."""
    config = subject.config
    try:
        lines = [f"{one}, on which {subject.name} was trained"
                 for one in find_overlaps([config], [split], config.data, contents)]
        people = contents.people(split, config.data)
        for name in config.train_sets if split.endswith("/val") else ():
            if same := people & contents.people(f"{name}/val", config.data):
                lines.append(f"{len(same)} of the {len(people)} people of {split} are in "
                             f"{name}/val, on which {subject.name} was chosen")
    except CallerError as error:  # the training pictures are not here: say that nobody checked
        return [f"{split} was not compared with the training pictures of {subject.name}: {error}"]
    return lines


def _readable(path: Path) -> bool:
    """Return whether the predictions are readable; delete a damaged file."""
    try:
        read_predictions(path)
    except DamagedFile as error:
        console.print(f"{error}: computed again", markup=False, highlight=False, soft_wrap=True)
        path.unlink(missing_ok=True)
        return False
    return True


def _answer(subject: Subject, split: str, name: str, digest: str, variant: Variant,
            session: Session) -> None:
    """Write the predictions of a weights file, another checkpoint or fixed views on a split."""
    config = subject.config
    if subject.run is not None:
        model = load_checkpoint_model(subject.run, session, variant.checkpoint)
    else:
        assert subject.weights is not None
        model = load_model(subject.weights).to(session.device)
    test = evaluated_source(config, config.data, split, digest, session)
    found = predict_model(session, model, test, config.train.batch_size, variant.turned)
    if session.first:
        if subject.run is not None:
            subject.run.lease.check()
        write_evaluation(subject.folder, name, digest, found)
    session.wait()


def _take(run: RunFolder, session: Session) -> None:
    """Take the lease of a run on rank 0; all ranks raise if another process holds it."""
    refusal = ""
    if session.first:
        try:
            run.lease.take()
        except LeaseTaken as taken:
            refusal = str(taken)
    if session.any_rank(bool(refusal))[0]:
        raise CallerError(refusal or "rank 0 could not take the run's lease")


def _refuse_another_deal(folder: RunFolder, split: str, data: Data, contents: InputDigests) -> None:
    """Refuse to resplit for a run whose training images have changed.

    Its `eval` split would contain people it was trained on.
    """
    config = folder.config
    folded = config.data.folds is not None and split.endswith(("/train", "/val"))
    if config.inputs is None or not (config.data.resplit or folded):
        return
    key = "data.resplit" if config.data.resplit else "train.folds"
    for trained, digest in config.inputs.splits.items():
        if (_kin(trained, data) == _kin(split, data)
                and contents.split(trained, data) != digest):
            raise CallerError(f"{folder.name}: the images of {trained} have changed since it was "
                              f"trained, so the people of its fold are unknown ({key})")


def _kin(split: str, data: Data) -> str:
    """Return the data set that a split's set derives from, or its own name if unknown."""
    name = split.split("/")[0]
    return original_of(name, data) if name in data.sets else name

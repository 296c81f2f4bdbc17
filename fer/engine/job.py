"""Work on run folders: train what is not trained, evaluate what is not evaluated.

A job does one run after another. A run that fails says so in its `status.json` and the next one
begins; a run that another process works on is left to it.
"""

import contextlib
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fer.config.places import cache, data_root
from fer.config.schema import Data, RunConfig
from fer.data.pack import ensure_pack
from fer.data.source import Source
from fer.engine.checkpoint import Checkpoints, load_weights
from fer.engine.events import write_hparams
from fer.engine.facts import environment
from fer.engine.journal import Cancelled, Journal
from fer.engine.predict import predict
from fer.engine.session import Session, open_session
from fer.engine.train import Training, final_facts, new_model, train
from fer.errors import CallerError
from fer.evaluate.metrics import measure, write_result
from fer.evaluate.predictions import write_predictions
from fer.models.classifier import Classifier
from fer.models.foreign import read_foreign
from fer.models.weights import load_pretrained, load_state
from fer.publish import write_json
from fer.study.lease import LeaseLost, LeaseTaken
from fer.study.room import disk_refusals_named
from fer.study.store import RunFolder, Status
from fer.transfer.phases import check_recipe

Listen = Callable[[Status], None]


@dataclass(frozen=True)
class Task:
    """One run to work on, and the splits to evaluate it on afterwards.

    Attributes:
        folder: the run folder, with its `config.yaml`.
        evaluate: `{split: content digest}`.
        data: the data sets in which the splits are now; None takes the run's own.
    """

    folder: Path
    evaluate: Mapping[str, str] = field(default_factory=dict)
    data: Data | None = None


def work(tasks: Sequence[Task], listen: Listen | None = None) -> list[str]:
    """Do each task in turn and return the outcomes: `done`, `failed`, `cancelled`, `taken`
    (another process works on it) or `lost` (another process took it over).

    Raises:
        nothing that a run raised: that is in its `status.json`, with the traceback.
    """
    return [_work_one(task, listen) for task in tasks]


def _work_one(task: Task, listen: Listen | None) -> str:
    folder = RunFolder(task.folder)
    try:
        folder.lease.take()
    except LeaseTaken:
        return "taken"
    try:
        with open_session(folder.config.compute) as session:
            execute(task, session, listen)
    except LeaseLost:
        return "lost"
    except Cancelled as stop:
        folder.say(replace(folder.status(), state="cancelled", error=str(stop)))
        return "cancelled"
    except Exception as error:  # the boundary of a run: kept whole in its status, and reported
        _say_failed(folder, error)
        return "failed"
    finally:
        folder.lease.release()
    return "done"


def _say_failed(folder: RunFolder, error: Exception) -> None:
    """Publish a failure; a mistake of the caller is one line, anything else has its traceback."""
    mistake = isinstance(error, CallerError)
    line = str(error) if mistake else f"{type(error).__name__}: {error}"
    folder.say(replace(folder.status(), state="failed", error=line, heartbeat=time.time(),
                       traceback="" if mistake else traceback.format_exc()))


def execute(
    task: Task, session: Session, listen: Listen | None = None, limit_batches: int | None = None
) -> None:
    """Bring one run folder to what the task asks for; the first rank holds its lease.

    Args:
        listen: called with each new status.
        limit_batches: for debugging, the most batches in an epoch.

    Raises:
        CallerError: a mistake in configuration or data, or a disk that is full or read-only.
    """
    folder = RunFolder(task.folder)
    config = folder.config
    journal = Journal(folder, config, writes=session.first, listen=listen)
    with disk_refusals_named(folder.path), contextlib.closing(journal):
        if not folder.trained:
            _train(folder, session, journal, limit_batches)
        missing = {s: d for s, d in task.evaluate.items() if not folder.evaluated(s, d)}
        session.wait()  # all ranks have looked before the first one writes
        if missing:
            _evaluate(folder, session, journal, missing, task.data or config.data)
        journal.say(replace(journal.status, state="done"))


def _train(folder: RunFolder, session: Session, journal: Journal, limit: int | None) -> None:
    config = folder.config
    restarts = journal.status.restarts + int((folder.path / "checkpoints").is_dir())
    train_source, val_source = (training_source(config, part, session)
                                for part in ("train", "val"))
    model, note = new_model(config, session)
    check_recipe(config.recipe, tuple(model.stages))
    left_out = [pack.left_out(f"{name}/{part}")
                for part, packed in (("train", train_source), ("val", val_source))
                for name, pack in zip(config.train_sets, packed.packs, strict=True)]
    notes = [line for line in (note, *left_out, *_initialise(folder, config, model)) if line]
    run = Training(config, session, train_source, val_source,
                   Checkpoints(folder.path / "checkpoints", config.keep.checkpoints),
                   journal, model, limit_batches=limit)
    journal.say(replace(journal.status, restarts=restarts, notes=notes, steps=run.total_steps,
                        epochs=sum(run.epochs(phase) for phase in config.recipe.phases)))
    if session.first:
        packs = [*train_source.packs, *val_source.packs]
        write_json(folder.path / "env.json", environment(config, session, packs))
    train(run)
    if session.first:
        journal.check_lease()
        journal.say(journal.status_at(run.progress))
        run.checkpoints.drop_optimizer()
        write_json(folder.path / "train.json", final_facts(run.progress, config.train.select),
                   durable=True)
    session.wait()


def training_source(config: RunConfig, part: str, session: Session) -> Source:
    """Return the packs of `train` or `val` of the run's training sets, as one source."""
    planned = config.inputs.digests if config.inputs else {}
    splits = {split: planned[split] for split in (f"{name}/{part}" for name in config.train_sets)}
    return source(config, config.data, splits, session)


def source(
    config: RunConfig, data: Data, splits: Mapping[str, str], session: Session
) -> Source:
    """Return the packs of some splits (`{split: digest}`) as one source, built where missing.

    Raises:
        CallerError: the pictures on disk are not those of the digest.
    """
    size = config.backbone.input_size
    packs = [ensure_pack(split, data, data_root(), size, cache(), digest)
             for split, digest in splits.items()]
    return Source(packs, session.device)


def _initialise(folder: RunFolder, config: RunConfig, model: Classifier) -> list[str]:
    """Fill the weights of a run that starts from others; return lines for the log."""
    init, pretrained = config.recipe.init, config.backbone.pretrained
    if init.source == "scratch":
        return []
    if config.parents:
        assert config.inputs is not None
        parent = parent_folder(folder, config.inputs.parents["init"])
        best = Checkpoints(parent.path / "checkpoints", keep=2).best()
        report = load_state(model, read_foreign(best / "model.safetensors"), init.keep_head)
        return [f"starts from {parent.name}: {report}"]
    assert pretrained is not None and pretrained.file is not None
    report = load_pretrained(model, cache() / "weights" / pretrained.file, init.keep_head)
    return [f"starts from {pretrained.file}: {report}"]


def parent_folder(folder: RunFolder, parent_id: str) -> RunFolder:
    """Return the folder of a parent, which lies beside its child's.

    Raises:
        CallerError: it is not there or not trained.
    """
    for path in folder.path.parent.glob(f"*-{parent_id}"):
        if RunFolder(path).trained:
            return RunFolder(path)
    raise CallerError(f"{folder.name}: its parent {parent_id} is not trained; train that first")


def _evaluate(
    folder: RunFolder, session: Session, journal: Journal, splits: Mapping[str, str], data: Data
) -> None:
    """Write predictions and metrics of the best checkpoint on each split."""
    config = folder.config
    model = trained_model(folder, session)
    scores: dict[str, float] = {}
    for split, digest in splits.items():
        test = source(config, data, {split: digest}, session)
        if line := test.packs[0].left_out(split):
            earlier = [note for note in journal.status.notes if note != line]
            journal.say(replace(journal.status, notes=[*earlier, line]))
        predictions = predict(session, model, test, config.train.batch_size)
        if not session.first:
            continue
        journal.check_lease()
        write_predictions(folder.predictions(split), predictions)
        metrics = measure(predictions.labels, predictions.logits, predictions.classes)
        write_result(folder.result(split), split, digest, metrics)
        scores |= {f"{split}/{name}": metrics[name] for name in ("uar", "accuracy", "macro_f1")}
    if session.first and config.keep.tensorboard:
        write_hparams(folder.path / "tb", config, scores)


def trained_model(folder: RunFolder, session: Session) -> Classifier:
    """Return the best checkpoint's model of a trained run, on the session's device."""
    model, _ = new_model(folder.config, session)
    load_weights(Checkpoints(folder.path / "checkpoints", keep=2).best(), model)
    return model.eval()

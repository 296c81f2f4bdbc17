"""Evaluation of a trained run on test sets: predictions, metrics and TensorBoard events.

The validation split is predicted once too, because ensembles are selected on it. Scheduling of
evaluations is in `fer.train.run_tasks`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from fer.config.recipe import Recipe
from fer.config.run import Data
from fer.data.pixels import Source
from fer.errors import CallerError, choices
from fer.evaluate.metrics import measure, result_path, write_result
from fer.evaluate.predictions import Predictions, predictions_path, write_predictions
from fer.models.classifier import Classifier
from fer.study.run_folder import RunFolder
from fer.train.checkpoint import Checkpoints, load_weights
from fer.train.checkpoint_manifest import verify
from fer.train.context import new_model
from fer.train.distributed import Session
from fer.train.features import Body
from fer.train.phase_data import plain_features
from fer.train.predict import head_logits, predict_logits, table
from fer.train.run_logger import Preempted, RunLogger
from fer.train.setup import evaluated_source, trained_model, training_source
from fer.train.tensorboard import write_final

BEST = "best"


@dataclass(frozen=True)
class Variant:
    """How a run is evaluated; by default its best checkpoint without test-time augmentation.

    Attributes:
        checkpoint: `best`, `last`, or the name of a checkpoint folder such as `step-00000300`.
        turned: average over fixed views of each picture (test-time augmentation).
    """

    checkpoint: str = BEST
    turned: bool = False

    @property
    def suffix(self) -> str:
        """Suffix of its file names after the split; empty for the default."""
        parts = [] if self.checkpoint == BEST else [self.checkpoint]
        return "".join(f"@{part}" for part in (*parts, *(["turned"] if self.turned else [])))


PLAIN = Variant()


def evaluate_run(
    folder: RunFolder, session: Session, logger: RunLogger, splits: Mapping[str, str], data: Data,
    stop: Callable[[], bool],
) -> None:
    """Write predictions and metrics of the best checkpoint on each split (`{split: digest}`)."""
    config = folder.config
    model = trained_model(folder, session)
    body, kept = Body(model, config, session), trains_head_only(config.recipe)
    if not kept:  # cached features are those of the training memory format
        model.to(memory_format=torch.channels_last)

    def exit_if_requested() -> None:
        if session.any_rank(stop())[0]:
            raise Preempted("save and exit requested before all test sets were evaluated")

    def predict(pictures: Source) -> Predictions:
        exit_if_requested()
        features = plain_features(body, pictures, exit_if_requested) if kept else None
        logits = (head_logits(session, model, features) if features else predict_logits(
            session, model, pictures, config.train.batch_size, exit_if_requested))
        return table(pictures, model, logits)

    shown: dict[str, tuple[Predictions, Source]] = {}
    for split, digest in splits.items():
        test = evaluated_source(config, data, split, digest, session)
        if lines := test.packs[0].notes(split):
            earlier = [note for note in logger.status.notes if note not in lines]
            logger.write_status(replace(logger.status, notes=[*earlier, *lines]))
        found = predict(test)
        if session.first:
            logger.check_lease()
            write_evaluation(folder.path, split, digest, found)
            shown[split] = found, test
    _predict_validation(folder, session, logger, predict)
    if session.first and config.keep.tensorboard:
        write_final(folder.path, config, shown)


def _predict_validation(folder: RunFolder, session: Session, logger: RunLogger,
                        predict: Callable[[Source], Predictions]) -> None:
    """Write the predictions on the validation split if there are none yet.

    Test sets can be evaluated where the training pictures are missing or have changed. Ensembles
    are then selected without this run, and its log gives the reason.
    """
    split = f"{folder.config.train_on}/val"
    path, pictures, why = folder.predictions(split), None, ""
    if session.from_first(path.is_file):
        return
    try:
        pictures = training_source(folder.config, "val", session)
    except CallerError as error:
        why = str(error)
    if session.any_rank(pictures is None)[0] or pictures is None:
        logger.log(f"no predictions on {split}: {why or 'another rank has no pictures'}")
        return
    found = predict(pictures)
    if session.first:
        logger.check_lease()
        write_predictions(path, found)


def write_evaluation(folder: Path, split: str, digest: str, found: Predictions) -> None:
    """Write predictions and metrics on a split into a run folder."""
    write_predictions(predictions_path(folder, split), found)
    metrics = measure(found.labels, found.logits, found.classes)
    write_result(result_path(folder, split), split, digest, metrics)


def predict_model(session: Session, model: Classifier, test: Source, batch_size: int,
                  turned: bool) -> Predictions:
    """Return the predictions of a model on a source."""
    model.to(memory_format=torch.channels_last)  # the fastest layout for forward passes
    logits = predict_logits(session, model, test, batch_size, turned=turned)
    return table(test, model, logits)


def load_checkpoint_model(folder: RunFolder, session: Session, checkpoint: str) -> Classifier:
    """Return the model of a run at one of its checkpoints, on the session's device.

    Raises:
        CallerError: no such checkpoint; lists those that exist.
    """
    if checkpoint == BEST:
        return trained_model(folder, session)
    checkpoints = Checkpoints(folder.path / "checkpoints", keep=2)
    name = checkpoint
    if name == "last" and (checkpoints.folder / name).is_file():
        name = checkpoints.pointed(name)
    if not (checkpoints.folder / name / "manifest.json").is_file():
        there = choices([BEST, "last", *(checkpoints.path(step).name
                                         for step in checkpoints.steps())])
        raise CallerError(f"{folder.name} has no checkpoint '{checkpoint}'; there are: {there}")
    verify(checkpoints.folder / name)
    model, _ = new_model(folder.config, session)
    load_weights(checkpoints.folder / name, model)
    return model.eval()


def trains_head_only(recipe: Recipe) -> bool:
    """Return whether only the head is trained, so that other runs may share the features."""
    phases = recipe.phases
    return len(phases) > 0 and all(phase.views is not None for phase in phases)

"""A trained run on test sets: predictions, metrics, and what TensorBoard shows of them.

The validation split is predicted too, once: ensembles are chosen on it. Not for training, and not
for what is worked on when (`fer.train.worker`).
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
from fer.train.checkpoint import Checkpoints, load_weights, verify
from fer.train.context import new_model
from fer.train.distributed import Session
from fer.train.features import Body
from fer.train.phase_data import plain_features
from fer.train.predict import head_logits, predict_logits, table
from fer.train.run_logger import Preempted, RunLogger
from fer.train.setup import source, trained_model, training_source
from fer.train.tensorboard import write_final

BEST = "best"


@dataclass(frozen=True)
class Variant:
    """Another way to look at a run than its best checkpoint on the pictures as they are.

    Attributes:
        checkpoint: `best`, `last`, or the name of a checkpoint folder such as `step-00000300`.
        turned: average over fixed views of each picture.
    """

    checkpoint: str = BEST
    turned: bool = False

    @property
    def suffix(self) -> str:
        """What the names of its files have behind the split: empty for the plain way."""
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
    if not kept:  # what is kept of a body is that of training
        model.to(memory_format=torch.channels_last)

    def leave_if_asked() -> None:
        if session.any_rank(stop())[0]:
            raise Preempted("asked to leave before the end of the test sets")

    def answers(pictures: Source) -> Predictions:
        leave_if_asked()
        features = plain_features(body, pictures, leave_if_asked) if kept else None
        logits = (head_logits(session, model, features) if features else predict_logits(
            session, model, pictures, config.train.batch_size, leave_if_asked))
        return table(pictures, model, logits)

    shown: dict[str, tuple[Predictions, Source]] = {}
    for split, digest in splits.items():
        test = source(config, data, {split: digest}, session)
        if line := test.packs[0].left_out(split):
            earlier = [note for note in logger.status.notes if note != line]
            logger.write_status(replace(logger.status, notes=[*earlier, line]))
        found = answers(test)
        if session.first:
            logger.check_lease()
            write_evaluation(folder.path, split, digest, found)
            shown[split] = found, test
    _predict_validation(folder, session, logger, answers)
    if session.first and config.keep.tensorboard:
        write_final(folder.path, config, shown)


def _predict_validation(folder: RunFolder, session: Session, logger: RunLogger,
                        answers: Callable[[Source], Predictions]) -> None:
    """Write the predictions on the validation split where there are none yet.

    Test sets can be measured where the training pictures are not, or not as they were: ensembles
    then choose without this run, and its log says why.
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
    found = answers(pictures)
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
    """Return the predictions of any model on any pictures."""
    model.to(memory_format=torch.channels_last)  # the fastest layout for forward passes
    logits = predict_logits(session, model, test, batch_size, turned=turned)
    return table(test, model, logits)


def load_checkpoint_model(folder: RunFolder, session: Session, checkpoint: str) -> Classifier:
    """Return the model of a run at one of its checkpoints, on the session's device.

    Raises:
        CallerError: no such checkpoint; names those that are there.
    """
    if checkpoint == BEST:
        return trained_model(folder, session)
    checkpoints = Checkpoints(folder.path / "checkpoints", keep=2)
    name = checkpoint
    last = checkpoints.folder / "last"
    if name == "last" and last.is_file():
        name = last.read_text("utf-8").strip()
    if not (checkpoints.folder / name / "manifest.json").is_file():
        there = choices([BEST, "last", *(checkpoints.path(step).name
                                         for step in checkpoints.steps())])
        raise CallerError(f"{folder.name} has no checkpoint '{checkpoint}'; there are: {there}")
    verify(checkpoints.folder / name)
    model, _ = new_model(folder.config, session)
    load_weights(checkpoints.folder / name, model)
    return model.eval()


def trains_head_only(recipe: Recipe) -> bool:
    """Whether a run's features are those of its start, which other runs may share."""
    phases = recipe.phases
    return len(phases) > 0 and all(phase.views is not None for phase in phases)

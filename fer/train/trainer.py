"""The training of one run, from where its folder stands to `train.json`.

Reads top to bottom: phases, epochs, steps. What a step sees is a function of (configuration, step)
alone, so a checkpoint is the weights, the optimiser and a `Progress`.
"""

import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from fer.config.recipe import Phase
from fer.evaluate.metrics import validation_scores
from fer.train.checkpoint import (
    load_optimizer,
    load_training,
    load_weights,
    newest_of_all,
)
from fer.train.distributed import average_batch_norm, seed_torch
from fer.train.early_stopping import end_epoch, epoch_facts, lr_at, selection_score
from fer.train.ema import AveragedModel, State, copy_state, set_state
from fer.train.losses import backward
from fer.train.optimizers import make_optimizer
from fer.train.phase_data import PhaseData, make_phase_data
from fer.train.run_logger import Cancelled, Preempted, Stopped
from fer.train.sync_interval import SyncInterval, max_sync_interval
from fer.train.training import Training
from fer.train.update_batch_norm import update_batch_norm
from fer.transfer.l2sp import Anchor
from fer.transfer.phases import freeze, param_groups


class NonFiniteLoss(RuntimeError):
    """The loss became NaN or infinite; names the step. Nothing after it was written."""


def train(run: Training) -> None:
    """Train from the newest whole checkpoint, or from the start, to the end."""
    if run.session.first:
        run.checkpoints.remove_unfinished()
    run.session.wait()
    resumed = newest_of_all(run.checkpoints, run.session)
    if resumed is not None:
        folder, run.progress = resumed
        load_weights(folder, run.model)
        if run.session.first:
            run.checkpoints.point_at_best(run.progress)
    run.journal.truncate_to(run.progress.step, run.progress.epoch)
    while not run.progress.finished:
        _train_phase(run, resumed[0] if resumed else None)
        resumed = None
    run.session.wait()


def _train_phase(run: Training, resumed: Path | None) -> None:
    """Train until the phase changes or the run is finished."""
    progress = run.progress
    number = progress.phase
    phase = run.config.recipe.phases[number]
    freeze(run.model, phase)
    optim = run.config.optim_of(phase)
    optimizer = make_optimizer(optim, param_groups(run.model, phase, optim))
    begun = progress.phase_epoch > 0 or progress.batch > 0
    if resumed is not None and begun:
        load_optimizer(resumed, optimizer)
    run.mean = _mean(run, phase, resumed if begun else None)
    feed = make_phase_data(run, phase, lambda: _save_if_asked(run, optimizer))
    model: nn.Module = run.session.wrap(feed.module)
    if run.config.compute.compile:
        model = torch.compile(model)  # type: ignore[assignment]
    while not progress.finished and progress.phase == number:
        train_epoch(run, phase, feed, model, optimizer)
        _end_epoch(run, phase, feed, optimizer)
    run.session.unwrap(model)
    if run.mean is not None:
        set_state(run.model, run.mean.state)


def _mean(run: Training, phase: Phase, resumed: Path | None) -> AveragedModel | None:
    """Return the mean of weights that a phase takes, as far as it has come."""
    if phase.average is None:
        return None
    training = load_training(resumed) if resumed else None
    state = copy_state(run.model) if training else None
    if training:
        set_state(run.model,
                  {key: tensor.to(run.session.device) for key, tensor in training.items()})
    return AveragedModel(run.model, phase.average, state, run.progress.phase_epoch)


def train_epoch(
    run: Training, phase: Phase, feed: PhaseData, model: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """Do the steps that are left of the running epoch.

    Args:
        feed: of the phase.
        model: what `Session.wrap` made of the feed's module.
        optimizer: over the groups of the phase.

    Raises:
        NonFiniteLoss: naming the step.
        Preempted, Cancelled: the state is saved.
    """
    progress, session, config = run.progress, run.session, run.config
    model.train()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    anchor = Anchor(run.model, phase, run.start)
    clip_norm = config.optim_of(phase).clip_norm
    losses: list[torch.Tensor] = []
    look = SyncInterval(max_sync_interval(session.device))
    while progress.batch < run.steps_per_epoch:
        batch = feed.batches.batch(progress.epoch, progress.batch)
        if progress.step == 0:
            run.journal.samples(batch.images)
        _set_learning_rate(run, optimizer)
        seed_torch(config.seed, progress.step, session.rank, 1)
        losses.append(backward(session, model, feed.objective, batch, config.train.micro_batch))
        if clip_norm is not None:
            session.accelerator.clip_grad_norm_(parameters, clip_norm)
        optimizer.step()
        anchor.pull(optimizer.param_groups)
        if run.mean is not None:
            run.mean.after_step()
        optimizer.zero_grad(set_to_none=True)
        progress.batch += 1
        progress.step += 1
        if len(losses) >= look.every or progress.batch == run.steps_per_epoch:
            _look_at_losses(run, losses)
            run.journal.write_heartbeat(progress)
            look.next(_save_if_asked(run, optimizer, slow=look.slow))


def _look_at_losses(run: Training, losses: list[torch.Tensor]) -> None:
    """Add the last steps' losses to the epoch's sum, in order; stop at one that is not finite."""
    if not losses:
        return
    values = run.session.all_reduce_sum(torch.stack(losses)).double().cpu().tolist()
    first = run.progress.step - len(values) + 1
    losses.clear()
    for step, value in enumerate(values, first):
        if value != value or value in (float("inf"), float("-inf")):
            raise NonFiniteLoss(
                f"the loss is {value} at step {step} (epoch {run.progress.epoch + 1}); "
                f"the last checkpoint is from before; a lower optim.lr or optim.clip_norm may help")
        run.progress.losses += value


def _set_learning_rate(run: Training, optimizer: torch.optim.Optimizer) -> None:
    lr = lr_at(run.config, run.progress, run.steps_per_epoch)
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_multiplier"]


def _save_if_asked(run: Training, optimizer: torch.optim.Optimizer, slow: bool = False) -> bool:
    """Save when it is time to, or when some rank was asked to leave: then all of them do.

    Returns whether `slow` is so on some rank.
    """
    due = time.monotonic() - run.last_saved > run.config.keep.every_minutes * 60
    due, stop, cancel, early, slow = run.session.any_rank(
        due, run.stop(), run.journal.cancel_asked(), run.journal.stop_asked(), slow)
    if due or stop or cancel or early:
        _save(run, optimizer)
    if early:
        raise Stopped(f"stopped early; saved at step {run.progress.step}")
    if cancel:
        raise Cancelled("stopped because launch/status.py --cancel asked for it")
    if stop:
        raise Preempted(f"asked to leave; saved at step {run.progress.step}")
    return slow


def _save(run: Training, optimizer: torch.optim.Optimizer | None) -> None:
    """Publish a checkpoint from the first rank while the others wait."""
    average_batch_norm(run.model, run.session)
    if run.mean is None or optimizer is None:
        _publish(run, optimizer)
    else:
        with run.mean.in_place(lambda: average_batch_norm(run.model, run.session)) as training:
            _publish(run, optimizer, training)
    run.session.wait()
    run.last_saved = time.monotonic()


def _publish(run: Training, optimizer: torch.optim.Optimizer | None,
             training: State | None = None) -> None:
    if run.session.first:
        run.journal.check_lease()
        run.checkpoints.save(run.progress, run.model, optimizer, training)


def _end_epoch(run: Training, phase: Phase, feed: PhaseData,
               optimizer: torch.optim.Optimizer) -> None:
    """Validate, decide what comes next, write the epoch's line and the checkpoint."""
    progress = run.progress
    average_batch_norm(run.model, run.session)
    if run.mean is None:
        logits = feed.validate(lambda: _save_if_asked(run, optimizer))
    else:
        logits = _validate_mean(run, feed, optimizer)
    scores = validation_scores(run.val_labels, logits)
    facts = epoch_facts(progress, phase.name, run.steps_per_epoch,
                        optimizer.param_groups[-1]["lr"], scores)
    end_epoch(run.config, progress, selection_score(run.config, scores))
    run.journal.epoch(facts, run.val_labels, logits, run.val)
    if run.mean is not None and not progress.phase_epoch:
        set_state(run.model, run.mean.state)  # the phase is over
    _save(run, optimizer if progress.phase_epoch else None)
    if run.session.any_rank(run.after_epoch(facts, progress.finished))[0]:
        raise Stopped(f"stopped early after epoch {progress.epoch}")


class _Asked(Exception):
    """Somebody asked this process to leave while the mean was in the model's place."""


def _validate_mean(run: Training, feed: PhaseData, optimizer: torch.optim.Optimizer) -> np.ndarray:
    """Return validation logits of the mean of weights, batch-norm estimated where it has to be."""
    assert run.mean is not None
    before, mean = run.mean, run.mean.copy()  # an epoch counts when it has been validated
    mean.after_epoch()

    def leave_if_asked() -> None:
        if run.session.any_rank(run.stop())[0]:
            raise _Asked

    def estimate() -> None:
        if mean.average.how == "swa":
            update_batch_norm(run.model, run.batches, run.session, leave_if_asked)
        average_batch_norm(run.model, run.session)

    try:
        with mean.in_place(estimate):
            logits = feed.validate(leave_if_asked)
    except _Asked:
        run.mean = before
        _save_if_asked(run, optimizer)
        raise AssertionError("asked to leave, and then not any more") from None
    run.mean = mean
    return logits

"""The training loop of one run, from the newest checkpoint to the last epoch.

Reads top to bottom: phases, epochs, steps. The input of a step is a function of (configuration,
step) alone, so a checkpoint consists of the weights and a `TrainState`.
"""

import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from fer.config.recipe import Average, Phase
from fer.config.selection import averaged_from
from fer.evaluate.metrics import validation_scores
from fer.train.callbacks import Callbacks, SyncInterval, max_sync_interval
from fer.train.checkpoint import load_optimizer, load_training, load_weights, newest_of_all
from fer.train.context import TrainContext
from fer.train.distributed import average_batch_norm, seed_torch
from fer.train.early_stopping import end_epoch, epoch_facts, selection_score
from fer.train.ema import AveragedModel, State, copy_state, set_state, update_batch_norm
from fer.train.losses import backward
from fer.train.optim import lr_at, make_optimizer
from fer.train.phase_data import PhaseData, make_phase_data
from fer.train.run_logger import Cancelled, Preempted, Stopped
from fer.train.train_state import Progress, TrainState
from fer.transfer.l2sp import Anchor
from fer.transfer.phases import freeze, param_groups


class NonFiniteLoss(RuntimeError):
    """The loss became NaN or infinite at the named step. Nothing was saved after that step."""


def train(context: TrainContext, callbacks: Callbacks) -> Progress:
    """Train to the end, from the newest valid checkpoint or from the start.

    Raises:
        NonFiniteLoss: the loss became NaN or infinite.
        Preempted, Cancelled, Stopped: the state is saved.
    """
    session, checkpoints, state = context.session, context.checkpoints, TrainState()
    if session.first:
        checkpoints.remove_unfinished()
    session.wait()
    resumed = newest_of_all(checkpoints, session)
    if resumed is not None:
        folder, state.progress = resumed
        load_weights(folder, context.model)
        if session.first:
            checkpoints.point_at_best(state.progress)
    context.logger.truncate_to(state.progress.step, state.progress.epoch)
    while not state.progress.finished:
        _train_phase(context, state, callbacks, resumed[0] if resumed else None)
        resumed = None
    session.wait()
    return state.progress


def _train_phase(context: TrainContext, state: TrainState, callbacks: Callbacks,
                 resumed: Path | None) -> None:
    """Train until the phase changes or the run is finished.

    Args:
        resumed: the checkpoint from which the weights were loaded.
    """
    progress = state.progress
    number = progress.phase
    phase = context.config.recipe.phases[number]
    freeze(context.model, phase)
    optim = context.config.optim_of(phase)
    optimizer = make_optimizer(optim, param_groups(context.model, phase, optim))
    begun = progress.phase_epoch > 0 or progress.batch > 0
    if resumed is not None and begun:
        load_optimizer(resumed, optimizer)
    state.optimizer = optimizer
    state.average = _averaged_model(context, phase, progress, resumed if begun else None)
    data = make_phase_data(context, phase, lambda: _save_and_exit_if_requested(
        context, state, callbacks))
    model: nn.Module = context.session.wrap(data.module)
    if context.config.compute.compile:
        model = torch.compile(model)  # type: ignore[assignment]
    while not progress.finished and progress.phase == number:
        train_epoch(context, state, callbacks, data, model)
        _end_epoch(context, state, callbacks, data)
    context.session.unwrap(model)
    if state.average is not None:
        set_state(context.model, state.average.state)


def _averaged_model(context: TrainContext, phase: Phase, progress: Progress,
                    resumed: Path | None) -> AveragedModel | None:
    """Return the weight average of a phase, restored from the checkpoint if resumed."""
    first = averaged_from(context.config, phase)
    kind = phase.average if first is None else Average(how="swa")
    if kind is None:
        return None
    model = context.model
    training = load_training(resumed) if resumed else None
    average = copy_state(model) if training else None
    if training:
        device = context.session.device
        set_state(model, {key: tensor.to(device) for key, tensor in training.items()})
    return AveragedModel(model, kind, average, progress.phase_epoch, first or 0)


def train_epoch(context: TrainContext, state: TrainState, callbacks: Callbacks, data: PhaseData,
                model: nn.Module) -> None:
    """Run the remaining steps of the current epoch.

    Args:
        state: with the optimiser of the phase.
        data: of the phase.
        model: the data's module, wrapped by `Session.wrap`.

    Raises:
        NonFiniteLoss: the loss became NaN or infinite.
        Preempted, Cancelled, Stopped: the state is saved.
    """
    progress, optimizer, session, config = (
        state.progress, state.optimizer, context.session, context.config)
    assert optimizer is not None
    phase = config.recipe.phases[progress.phase]
    model.train()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    anchor = Anchor(context.model, phase, context.start)
    clip_norm = config.optim_of(phase).clip_norm
    losses: list[torch.Tensor] = []
    interval = SyncInterval(max_sync_interval(session.device))
    while progress.batch < context.steps_per_epoch:
        batch = data.batches.batch(progress.epoch, progress.batch)
        if progress.step == 0:
            context.logger.samples(batch.images)
        _set_learning_rate(context, progress, optimizer)
        seed_torch(config.seed, progress.step, session.rank, 1)
        losses.append(backward(session, model, data.objective, batch, config.train.micro_batch))
        if clip_norm is not None:
            session.accelerator.clip_grad_norm_(parameters, clip_norm)
        optimizer.step()
        anchor.pull(optimizer.param_groups)
        if state.average is not None:
            state.average.after_step()
        optimizer.zero_grad(set_to_none=True)
        progress.batch += 1
        progress.step += 1
        if len(losses) >= interval.every or progress.batch == context.steps_per_epoch:
            _add_losses(context, progress, losses)
            context.logger.write_heartbeat(progress)
            interval.next(_save_and_exit_if_requested(context, state, callbacks, interval.slow))


def _set_learning_rate(context: TrainContext, progress: Progress,
                       optimizer: torch.optim.Optimizer) -> None:
    lr = lr_at(context.config, progress, context.steps_per_epoch)
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_multiplier"]


def _add_losses(context: TrainContext, progress: Progress, losses: list[torch.Tensor]) -> None:
    """Add the last steps' losses to the epoch's sum, in order; raise if one is not finite."""
    if not losses:
        return
    values = context.session.all_reduce_sum(torch.stack(losses)).double().cpu().tolist()
    first = progress.step - len(values) + 1
    losses.clear()
    for step, value in enumerate(values, first):
        if value != value or value in (float("inf"), float("-inf")):
            raise NonFiniteLoss(
                f"the loss is {value} at step {step} (epoch {progress.epoch + 1}); "
                f"the last checkpoint is older; a lower optim.lr or optim.clip_norm may help")
        progress.losses += value


def _save_and_exit_if_requested(context: TrainContext, state: TrainState, callbacks: Callbacks,
                                slow: bool = False) -> bool:
    """Save if a checkpoint is due; save and exit on all ranks if requested on any.

    Returns whether `slow` is true on any rank.
    """
    logger, step = context.logger, state.progress.step
    due = time.monotonic() - state.last_saved > context.config.keep.every_minutes * 60
    due, stop, cancel, early, slow = context.session.any_rank(
        due, callbacks.stop_requested(), logger.cancel_asked(), logger.stop_asked(), slow)
    if due or stop or cancel or early:
        _save(context, state)
    if early:
        raise Stopped(f"stopped early; saved at step {step}")
    if cancel:
        raise Cancelled("cancelled by launch/status.py --cancel")
    if stop:
        raise Preempted(f"save and exit requested; saved at step {step}")
    return slow


def _save(context: TrainContext, state: TrainState) -> None:
    """Write a checkpoint on the first rank while the others wait."""
    model, session = context.model, context.session
    average_batch_norm(model, session)
    if state.average is None or state.optimizer is None:
        _publish(context, state)
    else:
        with state.average.in_place(lambda: average_batch_norm(model, session)) as training:
            _publish(context, state, training)
    session.wait()
    state.last_saved = time.monotonic()


def _publish(context: TrainContext, state: TrainState, training: State | None = None) -> None:
    if context.session.first:
        context.logger.check_lease()
        context.checkpoints.save(state.progress, context.model, state.optimizer, training)


def _end_epoch(context: TrainContext, state: TrainState, callbacks: Callbacks,
               data: PhaseData) -> None:
    """Validate, update the progress, write the epoch's record and a checkpoint."""
    config, progress, session = context.config, state.progress, context.session
    assert state.optimizer is not None
    average_batch_norm(context.model, session)
    if state.average is None:
        logits = data.validate(lambda: _save_and_exit_if_requested(context, state, callbacks))
    else:
        logits = _validate_average(context, state, callbacks, data)
    scores = validation_scores(context.val_labels, logits)
    facts = epoch_facts(progress, config.recipe.phases[progress.phase].name,
                        context.steps_per_epoch, state.optimizer.param_groups[-1]["lr"], scores)
    end_epoch(config, progress, selection_score(config, scores))
    context.logger.epoch(facts, context.val_labels, logits, context.val)
    if not progress.phase_epoch:  # the phase is over
        state.optimizer = None
        if state.average is not None:
            set_state(context.model, state.average.state)
    _save(context, state)
    if session.any_rank(callbacks.after_epoch(facts, progress.finished))[0]:
        raise Stopped(f"stopped early after epoch {progress.epoch}")


class _StopRequested(Exception):
    """Exit was requested while the model held the averaged weights."""


def _validate_average(context: TrainContext, state: TrainState, callbacks: Callbacks,
                      data: PhaseData) -> np.ndarray:
    """Return validation logits of the averaged weights, with batch-norm updated where needed."""
    assert state.average is not None
    average = state.average.copy()  # discarded if validation is interrupted
    average.after_epoch()
    model, session = context.model, context.session

    def raise_if_requested() -> None:
        if session.any_rank(callbacks.stop_requested())[0]:
            raise _StopRequested

    def estimate() -> None:
        if average.needs_statistics:
            update_batch_norm(model, context.batches, session, raise_if_requested)
        average_batch_norm(model, session)

    try:
        with average.in_place(estimate):
            logits = data.validate(raise_if_requested)
    except _StopRequested:
        _save_and_exit_if_requested(context, state, callbacks)
        raise AssertionError("the exit request was withdrawn") from None
    state.average = average
    return logits

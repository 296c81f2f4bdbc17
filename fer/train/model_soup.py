"""Runs made of trained runs without training: WiSE-FT, soups, temperature, batch-norm statistics.

Each candidate is evaluated on validation and adds a line to `metrics.jsonl`; the best becomes the
run's only checkpoint. An interrupted run starts again: it takes minutes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fer.data.batches import TrainBatches
from fer.evaluate.calibration import best_temperature
from fer.evaluate.metrics import validation_scores
from fer.models.classifier import Classifier
from fer.train.callbacks import Callbacks
from fer.train.context import TrainContext
from fer.train.early_stopping import selection_score
from fer.train.ema import State, copy_state, set_state, update_batch_norm
from fer.train.predict import predict_logits
from fer.train.run_logger import Cancelled, Preempted
from fer.train.setup import source
from fer.train.train_state import Progress


@dataclass(frozen=True)
class Candidate:
    """Candidate weights; `said` describes them in the line of `metrics.jsonl`.

    `measured` means that they are a parent's weights with valid batch-norm statistics.
    """

    state: State
    said: dict[str, Any]
    measured: bool = False


Judge = Callable[[Candidate], float]


def combine(context: TrainContext, callbacks: Callbacks, members: Sequence[State]) -> Progress:
    """Select the best combination of the members' weights and write it as the checkpoint.

    Args:
        context: its model is overwritten and holds the best weights afterwards.
        members: weights and buffers of the parents, in the recipe's order.

    Raises:
        Preempted, Cancelled: save and exit, or cancellation of the run, was requested.
    """
    how = context.config.recipe.combine
    assert how is not None
    best: State | None = None
    progress = Progress()
    context.logger.truncate_to(0, 0)

    def judge(candidate: Candidate) -> float:
        """Return the validation score of a candidate and keep the best."""
        nonlocal best
        raise_if_stop_requested(context, callbacks)
        set_state(context.model, candidate.state)
        if not candidate.measured:
            update_batch_norm(context.model, context.batches, context.session,
                              lambda: raise_if_stop_requested(context, callbacks))
        logits = _logits(context, callbacks)
        scores = validation_scores(context.val_labels, logits)
        progress.epoch += 1
        progress.step += 1
        facts = {"epoch": progress.epoch - 1, "step": progress.step, "phase": how.how,
                 **candidate.said, **{f"val_{name}": value for name, value in scores.items()}}
        score = selection_score(context.config, scores)
        if progress.best.update(score, progress.step, progress.epoch):
            best = copy_state(context.model)
        context.logger.epoch(facts, context.val_labels, logits, context.val)
        context.logger.write_heartbeat(progress)
        return score

    if how.how == "wise_ft":
        _wise_ft(members, how.points, judge)
    elif how.how == "batch_norm":
        _batch_norm(context, callbacks, members[0], judge)
    elif how.how == "temperature":
        _temperature(context, callbacks, members[0], judge)
    elif how.how == "uniform_soup":
        judge(Candidate(_mean(members), {"members": list(range(len(members)))}))
    else:
        _greedy(members, judge)
    assert best is not None
    set_state(context.model, best)
    progress.step, progress.finished = progress.best.step, True
    if context.session.first:
        context.logger.check_lease()
        context.checkpoints.save(progress, context.model, None)
    context.session.wait()
    return progress


def raise_if_stop_requested(context: TrainContext, callbacks: Callbacks) -> None:
    """Raise if exit was requested on any rank, or cancellation of the run; all ranks call it."""
    stop, cancel = context.session.any_rank(callbacks.stop_requested(),
                                             context.logger.cancel_asked())
    if cancel:
        raise Cancelled("cancelled by launch/status.py --cancel")
    if stop:
        raise Preempted("save and exit requested; combining starts again")


def _logits(context: TrainContext, callbacks: Callbacks) -> np.ndarray:
    """Return validation logits of the current model, float32 (N, C)."""
    size = context.config.train.batch_size
    return predict_logits(context.session, context.model, context.val, size,
                          lambda: raise_if_stop_requested(context, callbacks))


def _wise_ft(members: Sequence[State], points: int, judge: Judge) -> None:
    """Evaluate points on the line from the first to the second weights; both ends unchanged."""
    first, second = members
    for number in range(points):
        alpha = number / (points - 1)
        state = first if number == 0 else second if number == points - 1 else (
            weighted_mean([first, second], [1 - alpha, alpha]))
        judge(Candidate(state, {"alpha": round(alpha, 6)}, measured=number in (0, points - 1)))


def _greedy(members: Sequence[State], judge: Judge) -> None:
    """Evaluate each member, then add them one by one, keeping those that do not hurt validation."""
    alone = [judge(Candidate(state, {"members": [number]}, measured=True))
             for number, state in enumerate(members)]
    first, *others = sorted(range(len(members)), key=lambda number: -alone[number])
    chosen, best = [first], alone[first]
    for number in others:
        tried = [*chosen, number]
        score = judge(Candidate(_mean([members[one] for one in tried]), {"members": tried}))
        if score >= best:
            chosen, best = tried, score


def _mean(members: Sequence[State]) -> State:
    return weighted_mean(members, [1 / len(members)] * len(members))


def weighted_mean(members: Sequence[State], shares: Sequence[float]) -> State:
    """Return the weighted mean of states; integer buffers are those of the first."""
    def of(key: str) -> torch.Tensor:
        if not members[0][key].is_floating_point():
            return members[0][key]
        parts = [share * state[key].double() for share, state in zip(shares, members, strict=True)]
        return torch.stack(parts).sum(0).to(members[0][key].dtype)

    return {key: of(key) for key in members[0]}


def _temperature(context: TrainContext, callbacks: Callbacks, member: State,
                 judge: Judge) -> None:
    """Evaluate the run with its last layer divided by the best temperature."""
    set_state(context.model, member)
    logits = _logits(context, callbacks)
    found = best_temperature(context.val_labels, logits)
    state = with_temperature(context.model, member, found)
    judge(Candidate(state, {"temperature": found}, measured=True))


def _batch_norm(context: TrainContext, callbacks: Callbacks, member: State, judge: Judge) -> None:
    """Evaluate the run with batch-norm statistics of unlabelled pictures; labels are not read."""
    config, session = context.config, context.session
    (split,) = config.unlabelled
    assert config.inputs is not None
    pictures = source(config, config.data, {split: config.inputs.digests[split]}, session)
    batches = TrainBatches(pictures, config.seed, "none", config.train.batch_size, session.rank,
                           session.world)
    set_state(context.model, member)
    update_batch_norm(context.model, batches, session,
                      lambda: raise_if_stop_requested(context, callbacks))
    judge(Candidate(copy_state(context.model), {"unlabelled": split}, measured=True))


def with_temperature(model: Classifier, member: State, temperature: float) -> State:
    """Return weights whose logits are divided by `temperature`, folded into the last layer."""
    layers = [(name, module) for name, module in model.head.named_modules()
              if isinstance(module, torch.nn.Linear | torch.nn.Conv2d)]
    name, layer = layers[-1]
    path = model.head_path + (f".{name}" if name else "")
    keys = {f"{path}.{parameter}" for parameter, _ in layer.named_parameters()}
    return {key: tensor / temperature if key in keys else tensor for key, tensor in member.items()}

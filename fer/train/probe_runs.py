"""Linear probes of one frozen body, of several runs, train together (`fer.train.stacked_probes`).

Each keeps its own folder, lease, metrics and checkpoint, as if it had trained alone. A probe that
diverges or is cancelled is left to be done alone, where it ends with its own words.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from fer.config.compatibility import probe_kind
from fer.data.test_time_views import FixedViews
from fer.study.run_folder import RunFolder
from fer.train.checkpoint import Checkpoints
from fer.train.context import TrainContext
from fer.train.distributed import Session
from fer.train.phase_data import features_of
from fer.train.run_logger import RunLogger
from fer.train.setup import finish, set_up_training
from fer.train.stacked_probes import Probe, ProbeData, class_layer, train_probes
from fer.transfer.phases import freeze


class StopRequested(RuntimeError):
    """This process was asked to leave; nothing of the group was kept."""


def untrained_kind(folder: RunFolder) -> str | None:
    """Return the kind of a run that is to be trained from its beginning, else None."""
    if folder.trained or any((folder.path / "checkpoints").glob("step-*")):
        return None
    return probe_kind(folder.config)


@dataclass
class Member:
    """One run of a group."""

    folder: RunFolder
    logger: RunLogger
    context: TrainContext
    probe: Probe


def train_stacked(
    folders: Sequence[RunFolder], session: Session, stop: Callable[[], bool]
) -> None:
    """Train untrained runs that are alike, whose leases this process holds.

    Raises:
        CallerError: a mistake in configuration or data.
        Left: `stop` said so; nothing was kept.
    """
    with ExitStack() as stack:
        members: list[Member] = []
        models: dict[int, TrainContext] = {}
        for folder in folders:
            logger = RunLogger(folder, folder.config, writes=True)
            stack.callback(logger.close)
            known = models.get(folder.config.seed)
            context = set_up_training(folder, session, logger, like=known)
            models.setdefault(folder.config.seed, context)
            members.append(Member(folder, logger, context, Probe(folder.config)))
        for some in _by_seed(members):
            _train_seed(some, session, stop)


def _by_seed(members: Sequence[Member]) -> Iterator[list[Member]]:
    for seed in dict.fromkeys(member.probe.config.seed for member in members):
        yield [member for member in members if member.probe.config.seed == seed]


def _train_seed(members: Sequence[Member], session: Session, stop: Callable[[], bool]) -> None:
    context = members[0].context
    phase = context.config.recipe.phases[0]
    assert phase.views is not None

    def leave_if_asked() -> None:
        if stop():
            raise StopRequested

    freeze(context.model, phase)
    views = FixedViews(context.batches, phase.views)
    features = features_of(context, views, leave_if_asked)
    if features is None or class_layer(context.model) is None:
        return  # each alone
    for member in members:
        member.logger.truncate_to(0, 0)
    by_probe = {id(member.probe): member for member in members}
    bench = ProbeData(views, *features, context.val_labels, context.loss, session)
    for line in train_probes([member.probe for member in members], context.model, bench):
        leave_if_asked()
        member = by_probe[id(line.probe)]
        line.probe.dropped |= member.logger.cancel_asked()
        member.logger.epoch(line.facts, context.val_labels, line.logits, context.val)
        member.logger.write_heartbeat(line.probe.progress)
    for member in members:
        if not member.probe.dropped:
            leave_if_asked()
            _write(member)


def _write(member: Member) -> None:
    """Write the checkpoints of the best and the last epoch, and the final facts."""
    context, probe = member.context, member.probe
    layer = class_layer(context.model)
    assert layer is not None
    checkpoints = Checkpoints(member.folder.path / "checkpoints", context.config.keep.checkpoints)
    for step in sorted(probe.weights):
        for parameter, kept in zip(layer.parameters(), probe.weights[step], strict=True):
            parameter.data.copy_(kept)
        member.logger.check_lease()
        checkpoints.save(probe.stood[step], context.model, None)
    finish(member.folder, context, probe.progress)

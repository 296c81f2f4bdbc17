"""Joint training of the linear probes of several runs on one frozen body.

The computation is in `fer.train.stacked_probes`. Each run keeps its own folder, lease, metrics and
checkpoint, as if trained alone. A probe that diverges or is cancelled is trained alone afterwards,
which reports its own error.
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
    """Save and exit requested; nothing of the group was saved."""


def untrained_kind(folder: RunFolder) -> str | None:
    """Return the probe kind of a run without checkpoints, else None."""
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
    """Train untrained runs of the same kind, whose leases this process holds.

    Raises:
        CallerError: a mistake in configuration or data.
        StopRequested: `stop` returned True; nothing was saved.
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

    def raise_if_requested() -> None:
        if stop():
            raise StopRequested

    freeze(context.model, phase)
    views = FixedViews(context.batches, phase.views)
    features = features_of(context, views, raise_if_requested)
    if features is None or class_layer(context.model) is None:
        return  # each run is trained alone
    for member in members:
        member.logger.truncate_to(0, 0)
    by_probe = {id(member.probe): member for member in members}
    bench = ProbeData(views, *features, context.val_labels, context.loss, session)
    for line in train_probes([member.probe for member in members], context.model, bench):
        raise_if_requested()
        member = by_probe[id(line.probe)]
        line.probe.dropped |= member.logger.cancel_asked()
        member.logger.epoch(line.facts, context.val_labels, line.logits, context.val)
        member.logger.write_heartbeat(line.probe.progress)
    for member in members:
        if not member.probe.dropped:
            raise_if_requested()
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

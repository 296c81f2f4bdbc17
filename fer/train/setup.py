"""Setup of a run's training (sources, model, initial weights), and its final results.

Pictures that are left out and the origin of the initial weights are logged.
"""

from collections.abc import Mapping
from dataclasses import replace

from fer.atomic_io import write_json
from fer.checksums import xxh3_of
from fer.config.paths import cache, data_root, scratch
from fer.config.run import Data, RunConfig, all_epochs
from fer.config.selection import few_people_warning
from fer.config.weights_file import weights_path
from fer.data.node_cache import node_copy
from fer.data.pack import Pack, ensure_pack
from fer.data.pixels import Source
from fer.errors import CallerError
from fer.models.checkpoint_import import read_foreign
from fer.models.classifier import Classifier
from fer.models.load_report import LoadReport
from fer.models.weights import load_pretrained, load_state
from fer.study.run_folder import RunFolder
from fer.train.checkpoint import Checkpoints, best_of_all, load_weights
from fer.train.context import TrainContext, make_context, mask_augmentation, new_model
from fer.train.distributed import Session
from fer.train.early_stopping import final_facts
from fer.train.ema import State, copy_state
from fer.train.environment import environment, people_in
from fer.train.run_logger import RunLogger
from fer.train.train_state import Progress
from fer.transfer.phases import check_recipe


def set_up_training(folder: RunFolder, session: Session, logger: RunLogger,
                    like: TrainContext | None = None, max_batches: int | None = None
                    ) -> TrainContext:
    """Return the context of a run before training, and write `env.json`.

    Args:
        like: context of a run with the same pictures, seed and initial weights, whose sources and
            model are shared.
        max_batches: maximum number of batches per epoch, for debugging.

    Raises:
        CallerError: a mistake in configuration or data, or a parent that is not trained.
    """
    config = folder.config
    checkpoints = Checkpoints(folder.path / "checkpoints", config.keep.checkpoints)
    if like is None:
        train, val = (training_source(config, part, session) for part in ("train", "val"))
        model, note = new_model(config, session)
        check_recipe(config.recipe, tuple(model.stages), model.layer_count)
        known = [line for part, packed in (("train", train), ("val", val))
                 for name, pack in zip(config.train_sets, packed.packs, strict=True)
                 for line in pack.notes(f"{name}/{part}")]
        started = _initialise(folder, config, model, logger, session)
        few = few_people_warning(config, people_in(val))
        notes = [line for line in (note, few, *known, *started) if line]
    else:
        train, val, model, notes = like.train, like.val, like.model, like.logger.status.notes
    context = make_context(config, session, train, val, model, checkpoints, logger,
                           _clean_source(config, session), _teacher(folder, session), max_batches)
    logger.write_status(replace(logger.status, notes=notes, steps=context.total_steps,
                                 epochs=all_epochs(config)))
    if session.first:
        write_json(folder.path / "env.json", environment(config, session, train, val))
    return context


def member_states(folder: RunFolder, session: Session) -> list[State]:
    """Return weights and buffers of the runs to combine, in the recipe's order."""
    config = folder.config
    assert config.recipe.combine is not None and config.inputs is not None
    parents = [parent_folder(folder, config.inputs.parents[f"member{number}"], session)
               for number in range(len(config.recipe.combine.of))]
    return [copy_state(trained_model(parent, session)) for parent in parents]


def _clean_source(config: RunConfig, session: Session) -> Source | None:
    """Return the source of the unmasked views; None if not needed or equal to the training set."""
    if config.clean_sets in ((), config.train_sets):
        return None
    assert config.inputs is not None
    splits = {split: config.inputs.digests[split]
              for split in (f"{name}/train" for name in config.clean_sets)}
    return source(config, config.data, splits, session)


def _teacher(folder: RunFolder, session: Session) -> Classifier | None:
    if folder.config.recipe.teacher is None:
        return None
    assert folder.config.inputs is not None
    parent = parent_folder(folder, folder.config.inputs.parents["teacher"], session)
    return trained_model(parent, session).requires_grad_(False)


def trained_model(folder: RunFolder, session: Session) -> Classifier:
    """Return the best checkpoint's model of a trained run, on the session's device."""
    model, _ = new_model(folder.config, session)
    load_weights(best_of_all(folder.path, session), model)
    return model.eval()


def finish(folder: RunFolder, context: TrainContext, progress: Progress) -> None:
    """Write the final results of a training, which marks the run as trained."""
    logger = context.logger
    if context.session.first:
        logger.check_lease()
        logger.write_status(logger.status_at(progress))
        context.checkpoints.drop_optimizer()
        write_json(folder.path / "train.json",
                   final_facts(progress, context.config), durable=True)
    context.session.wait()


def training_source(config: RunConfig, part: str, session: Session) -> Source:
    """Return the packs of `train` or `val` of the run's training sets, as one source.

    Masks that are drawn in training are drawn on `val` too, if configured, in a fixed draw.
    """
    planned = config.inputs.digests if config.inputs else {}
    splits = {split: planned[split] for split in (f"{name}/{part}" for name in config.train_sets)}
    pictures = source(config, config.data, splits, session)
    masks = config.train.masks
    if part == "train" or masks is None or not masks.on_validation:
        return pictures
    drawn = mask_augmentation(config, pictures)
    assert drawn is not None
    # slow to import, rarely needed
    from fer.data.masks.fixed_masks import MaskedSource

    return MaskedSource(pictures, drawn, config.data.val_seed, masks.model_dump_json())


def evaluated_source(config: RunConfig, data: Data, split: str, digest: str, session: Session
                     ) -> Source:
    """Return the pictures of a split as a run is evaluated on it.

    On the split that it was validated on they wear the masks of validation.

    Raises:
        CallerError: the pictures on disk do not match the digest.
    """
    planned = config.inputs.digests if config.inputs else {}
    if split == f"{config.train_on}/val" and planned.get(split) == digest:
        return training_source(config, "val", session)
    return source(config, data, {split: digest}, session)


def source(
    config: RunConfig, data: Data, splits: Mapping[str, str], session: Session
) -> Source:
    """Return the packs of splits (`{split: digest}`) as one source; build missing packs.

    Raises:
        CallerError: the pictures on disk do not match the digest.
    """
    size = config.backbone.input_size
    return Source([_intact_pack(split, data, size, digest) for split, digest in splits.items()],
                  session.device)


def _intact_pack(split: str, data: Data, size: int, digest: str) -> Pack:
    """Return an intact pack; rebuild it if its content has changed."""
    pack = node_copy(ensure_pack(split, data, data_root(), size, cache(), digest), scratch())
    if pack.intact:
        return pack
    return node_copy(ensure_pack(split, data, data_root(), size, cache(), digest, intact=True),
                     scratch())


def _initialise(folder: RunFolder, config: RunConfig, model: Classifier, logger: RunLogger,
                session: Session) -> list[str]:
    """Load the initial weights of a run; return lines for its status.

    Every key that was left out is logged.
    """
    init, pretrained = config.recipe.init, config.backbone.pretrained
    if init.source == "scratch":
        return []
    if "init" in config.parents:
        assert config.inputs is not None
        parent = parent_folder(folder, config.inputs.parents["init"], session)
        best = best_of_all(parent.path, session)
        report = load_state(model, read_foreign(best / "model.safetensors"), init.keep_head)
        return _started(parent.name, report, logger)
    assert pretrained is not None and pretrained.file is not None
    path = weights_path(cache(), pretrained.file)
    if config.inputs is not None and xxh3_of(path) != config.inputs.digests["weights"]:
        raise CallerError(f"{path}: its content has changed since the run was planned; plan again "
                          "(launch/sweep.py), or restore the original file")
    report = load_pretrained(model, path, init.keep_head, init.labels)
    return _started(pretrained.file, report, logger)


def _started(source: str, report: LoadReport, logger: RunLogger) -> list[str]:
    if (whole := report.lines(most=None)) != report.lines():
        logger.log(f"starts from {source}: {'; '.join(whole)}")
    matched, *rest = report.lines()
    return [f"starts from {source}: {matched}", *rest]


def parent_folder(folder: RunFolder, parent_id: str, session: Session) -> RunFolder:
    """Return the folder of a parent run, a sibling of its child's.

    Raises:
        CallerError: it is missing or not trained, as seen by the first rank.
    """
    found = session.from_first(lambda: [
        path for path in folder.path.parent.glob(f"*-{parent_id}") if RunFolder(path).trained])
    if found:
        return RunFolder(found[0])
    raise CallerError(f"{folder.name}: its parent {parent_id} is not trained; train that first")

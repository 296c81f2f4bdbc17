"""Atomic checkpoints: written to a temporary folder, fsynced, listed with checksums, renamed.

`checkpoints/step-NNNNNNNN/` holds `model.safetensors` (with its preprocessing), `optimizer.
safetensors`, `state.json` and `manifest.json`, written last. `last` and `best` are pointer files.
A checkpoint is valid only if every file has the size and checksum listed in the manifest.
"""

import re
import shutil
import time
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from fer.atomic_io import building_folder, replacing, sync_folder, write_json, write_text
from fer.errors import CallerError
from fer.models.classifier import Classifier
from fer.models.weights import load_state, save_weights
from fer.plain_text import shortened
from fer.train.checkpoint_manifest import WEIGHTS, Damaged, seal, unlist, verify
from fer.train.train_state import Progress
from fer.untrusted_io import read_json, read_object, read_text

if TYPE_CHECKING:  # slow to import, not needed to read a checkpoint
    from fer.train.distributed import Session

STEP = re.compile("step-[0-9]{8,18}")  # name of a checkpoint's folder
MOST_POINTER_BYTES = 100
TRAINING = "training.safetensors"  # the trained weights, if the model is an average of them
PATIENCE_S = 180.0  # network file systems may serve cached attributes for a minute
POLL_S = 0.2


class Checkpoints:
    """The checkpoints of one run; only the first rank writes.

    Args:
        folder: `checkpoints/` of the run folder.
        keep: how many of the newest to keep, in addition to the best one.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder = folder
        self.keep = keep

    def path(self, step: int) -> Path:
        """Return the folder of the checkpoint at `step`."""
        return self.folder / f"step-{step:08d}"

    def save(
        self, progress: Progress, model: Classifier, optimizer: torch.optim.Optimizer | None,
        training: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        """Publish a checkpoint, point `last` (and `best`) at it, and prune older ones.

        Args:
            training: the trained weights, if the model is an average of them.
        """
        final = self.path(progress.step)
        shutil.rmtree(final, ignore_errors=True)  # written before a fall-back to an earlier one
        with building_folder(final) as folder:
            save_weights(model, folder / WEIGHTS, {"step": str(progress.step)},
                         durable=False)
            if optimizer is not None:
                tensors, groups = _flatten(optimizer.state_dict())
                _save(tensors, folder / "optimizer.safetensors")
                write_json(folder / "optimizer.json", groups)
            if training is not None:
                _save({key: tensor.cpu().contiguous() for key, tensor in training.items()},
                      folder / TRAINING)
            write_json(folder / "state.json", asdict(progress))
            seal(folder)
        sync_folder(self.folder)
        write_text(self.folder / "last", final.name + "\n", durable=True)
        self.point_at_best(progress)
        self._prune(progress)

    def point_at_best(self, progress: Progress) -> None:
        """Rewrite the pointer to the best checkpoint, which a crash may have left stale."""
        if progress.best.score is not None:
            best = self.path(progress.best.step).name
            write_text(self.folder / "best", best + "\n", durable=True)

    def _prune(self, progress: Progress) -> None:
        kept = {self.path(step) for step in self.steps()[-self.keep :]}
        kept.add(self.path(progress.best.step))
        for step in self.steps():
            if self.path(step) not in kept:
                shutil.rmtree(self.path(step))

    def steps(self) -> list[int]:
        """Return the steps that have a folder, oldest first."""
        return sorted(int(path.name.removeprefix("step-")) for path in self.folder.glob("step-*")
                      if STEP.fullmatch(path.name))

    def remove_unfinished(self) -> None:
        """Remove temporary files of writers that crashed; requires the run's lease."""
        for path in self.folder.glob(".*.tmp-*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def newest(self) -> tuple[Path, Progress] | None:
        """Return the newest valid checkpoint whose best checkpoint is valid too.

        A damaged checkpoint is skipped with a warning that names the file.
        """
        for step in reversed(self.steps()):
            folder = self.path(step)
            try:
                verify(folder)
                progress = _progress(folder)
                middle = not progress.finished and (progress.phase_epoch or progress.batch)
                if middle and not (folder / "optimizer.json").is_file():
                    continue  # weights only, written before the run's last checkpoint
                if progress.best.score is not None and progress.best.step != step:
                    verify(self.path(progress.best.step))
                return folder, progress
            except Damaged as damage:
                warnings.warn(f"{damage}; falling back to an earlier checkpoint", stacklevel=2)
        return None

    def best(self) -> Path:
        """Return the folder of the best checkpoint after verifying it.

        Raises:
            Damaged: the best checkpoint is damaged or missing.
        """
        folder = self.folder / self.pointed("best")
        verify(folder)
        return folder

    def pointed(self, pointer: str) -> str:
        """Return the name of the checkpoint's folder that `best` or `last` points at.

        Raises:
            Damaged: there is no such pointer, or it holds something else.
        """
        file = self.folder / pointer
        try:
            name = read_text(file, MOST_POINTER_BYTES).strip()
        except (OSError, ValueError):
            name = ""
        if not STEP.fullmatch(name):
            raise Damaged(f"{file}: no {pointer} checkpoint")
        return name

    def drop_optimizer(self) -> None:
        """Remove optimiser state of a finished run, and all weights but the best and the last."""
        names = {self.pointed(pointer) for pointer in ("best", "last")}
        for step in self.steps():
            folder = self.path(step)
            if folder.name not in names:
                shutil.rmtree(folder)
                continue
            optimizer = ("optimizer.safetensors", "optimizer.json", TRAINING)
            unlist(folder, optimizer)
            for name in optimizer:
                (folder / name).unlink(missing_ok=True)


def newest_of_all(checkpoints: Checkpoints, session: "Session") -> tuple[Path, Progress] | None:
    """Return the first rank's newest valid checkpoint once this rank sees it too."""
    found = session.from_first(lambda: _with_manifest(checkpoints.newest()))
    if found is None:
        return None
    (folder, progress), manifest = found
    return _wait_for(folder, manifest, session), progress


def best_of_all(run_folder: Path, session: "Session") -> Path:
    """Return the first rank's best checkpoint of a run once this rank sees it too.

    Raises:
        Damaged: the best checkpoint is damaged or missing.
    """
    checkpoints = Checkpoints(run_folder / "checkpoints", keep=2)
    found = session.from_first(lambda: _with_manifest((checkpoints.best(), None)))
    assert found is not None
    (folder, _), manifest = found
    return _wait_for(folder, manifest, session)


def _with_manifest(found: tuple[Path, Any] | None) -> tuple[tuple[Path, Any], str] | None:
    return found and (found, (found[0] / "manifest.json").read_text())


def _wait_for(folder: Path, manifest: str, session: "Session") -> Path:
    """Return the folder once this rank sees the same content as the first rank.

    Raises:
        Damaged: the content still differs after `PATIENCE_S`.
    """
    deadline = time.monotonic() + PATIENCE_S
    while not session.first:
        try:
            if (folder / "manifest.json").read_text() != manifest:
                raise Damaged(f"{folder}: the first rank sees a different manifest")
            verify(folder)
            break
        except (Damaged, OSError) as error:
            if time.monotonic() > deadline:
                raise Damaged(f"rank {session.rank} does not see the first rank's checkpoint after "
                              f"{PATIENCE_S:.0f} s: {error}") from None
            time.sleep(POLL_S)
    return folder


def load_weights(folder: Path, model: Classifier) -> None:
    """Load a checkpoint's weights into a model of the same architecture; all keys must match.

    Raises:
        Damaged: they are not readable, or of another model.
    """
    try:
        report = load_state(model, load_file(folder / WEIGHTS), keep_head=True)
    except (OSError, SafetensorError, CallerError) as error:
        raise Damaged(f"{folder / WEIGHTS}: {error}") from None
    problems = [*report.missing, *report.unexpected, *report.reshaped]
    if problems:
        raise Damaged(f"{folder / WEIGHTS}: {len(problems)} tensors do not match the model, such "
                      f"as '{shortened(problems[0])}'")


def _progress(folder: Path) -> Progress:
    """Return the counters of a checkpoint; raise `Damaged` if they are not readable."""
    try:
        return Progress.from_json(read_object(folder / "state.json"))
    except (OSError, ValueError) as error:
        raise Damaged(f"{folder / 'state.json'}: {error}") from None


def load_training(folder: Path) -> dict[str, torch.Tensor] | None:
    """Return the trained weights, if the checkpoint's model is an average of them."""
    path = folder / TRAINING
    return load_file(path) if path.is_file() else None


def load_optimizer(folder: Path, optimizer: torch.optim.Optimizer) -> None:
    """Load a checkpoint's optimiser state."""
    groups = read_json(folder / "optimizer.json")
    optimizer.load_state_dict(_unflatten(load_file(folder / "optimizer.safetensors"), groups))


def _save(tensors: dict[str, torch.Tensor], path: Path) -> None:
    with replacing(path) as temporary:  # sets the mode: safetensors writes files as 0600
        save_file(tensors, temporary)


def _flatten(state: dict[str, Any]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Split an optimiser's state into tensors `index.name` and JSON values."""
    tensors: dict[str, torch.Tensor] = {}
    plain: dict[str, dict[str, Any]] = {}
    for index, values in state["state"].items():
        for name, value in values.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{index}.{name}"] = value.detach().contiguous()
            else:
                plain.setdefault(str(index), {})[name] = value
    return tensors, {"groups": state["param_groups"], "plain": plain}


def _unflatten(tensors: dict[str, torch.Tensor], groups: dict[str, Any]) -> dict[str, Any]:
    state: dict[int, dict[str, Any]] = {}
    for index, values in groups["plain"].items():
        state.setdefault(int(index), {}).update(values)
    for key, tensor in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = tensor
    return {"state": state, "param_groups": groups["groups"]}

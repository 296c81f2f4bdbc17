"""TensorBoard events of a trial: hyper-parameters with the score, for sorting in the hparams view.

    studies/<search>/tb/<run>       -> the run's own events
    studies/<search>/tb/trials/NNN  hyper-parameters, and the score after each epoch
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any


def link(folder: Path, run: Path) -> None:
    """Link a run's events into the search's folder."""
    (folder / "tb").mkdir(exist_ok=True)
    with suppress(FileExistsError):
        (folder / "tb" / run.name).symlink_to(os.path.relpath(run / "tb", folder / "tb"))


def trial_folder(folder: Path, number: int, seed: int | None) -> Path:
    """Return the folder of a trial's events."""
    return folder / "tb" / "trials" / (f"{number:03}" + ("" if seed is None else f"-s{seed}"))


def forget_trial(folder: Path, number: int, run: str) -> None:
    """Remove the events of a trial that no longer belongs to the search."""
    shutil.rmtree(trial_folder(folder, number, None), ignore_errors=True)
    (folder / "tb" / run).unlink(missing_ok=True)


def write_trial(place: Path, params: Mapping[str, Any], metric: str, curve: Sequence[float]
                ) -> None:
    """Write a trial's hyper-parameters and scores, replacing earlier events.

    Args:
        place: folder, from `trial_folder`.
        curve: the score after each epoch.
    """
    from torch.utils.tensorboard import SummaryWriter  # trial processes import torch anyway
    from torch.utils.tensorboard.summary import hparams

    from fer.train.tensorboard import flatten

    shutil.rmtree(place, ignore_errors=True)
    tag = f"search/{metric}"
    with SummaryWriter(str(place)) as writer:
        assert writer.file_writer is not None
        for summary in hparams(flatten(dict(params)), {tag: curve[-1]}):
            writer.file_writer.add_summary(summary)
        for epoch, score in enumerate(curve, 1):
            writer.add_scalar(tag, score, epoch)

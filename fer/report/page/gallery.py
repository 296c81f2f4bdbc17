"""Images of the page: common errors, disagreements, and attention maps of the best models.

Grad-CAM maps are drawn by `fer.train.grad_cam`; here they are only embedded.
"""

import base64
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer.data.decode import thumbnail
from fer.evaluate.predictions import Predictions
from fer.report.read.load_results import Measured
from fer.report.read.run_files import ReportRun
from fer.study.grad_cam_runs import FOLDER, SCHEMA
from fer.untrusted_io import plain_name, read_bytes, read_json

SHOWN = 24

Pictures = Callable[[str], Path | None]


@dataclass(frozen=True)
class Shown:
    """One image: `votes` of the `models` predict the class `predicted`, the most frequent one."""

    sample_id: str
    label: str
    predicted: str
    votes: int
    models: int


def wrong_for_all(measured: Sequence[Measured]) -> tuple[list[Shown], int]:
    """Return the images that all of `measured` (one test set) misclassify, and how many models.

    The most frequent errors come first. Models without predictions are left out.
    """
    first, votes = _votes(measured)
    if first is None:
        return [], 0
    wrong = np.flatnonzero((votes != first.labels).all(axis=0))
    found = [_shown(first, votes, index) for index in wrong.tolist()]
    return sorted(found, key=lambda one: (-one.votes, one.sample_id)), len(votes)


def disputed(measured: Sequence[Measured]) -> list[Shown]:
    """Return the images on which models disagree, in descending order of vote entropy.

    Images on which all models agree are left out.
    """
    first, votes = _votes(measured)
    if first is None:
        return []
    shares = np.stack([(votes == name).mean(0) for name in range(len(first.classes))])
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.where(shares > 0, shares * np.log(shares), 0.0).sum(0)
    order = sorted(np.flatnonzero(entropy > 0).tolist(),
                   key=lambda index: (-round(float(entropy[index]), 9), first.sample_ids[index]))
    return [_shown(first, votes, index) for index in order]


def _votes(measured: Sequence[Measured]) -> tuple[Predictions | None, np.ndarray]:
    """Return the first table and each model's predictions on its images, int64, M x N."""
    tables = [one.predictions for one in measured if one.predictions is not None]
    if not tables:
        return None, np.empty((0, 0), np.int64)
    first = tables[0]
    votes = np.empty((len(tables), len(first)), np.int64)
    for row, table in zip(votes, tables, strict=True):
        if table.sample_ids == first.sample_ids:
            row[:] = table.predicted
            continue
        at = {name: index for index, name in enumerate(table.sample_ids)}
        row[:] = table.predicted[[at[name] for name in first.sample_ids]]
    return first, votes


def _shown(first: Predictions, votes: np.ndarray, index: int) -> Shown:
    predicted, agreed = Counter(votes[:, index].tolist()).most_common(1)[0]
    return Shown(first.sample_ids[index], first.classes[first.labels[index]],
                 first.classes[predicted], agreed, len(votes))


def embed(found: Sequence[Shown], pictures: Pictures, most: int = SHOWN
          ) -> tuple[list[tuple[Shown, str]], list[str]]:
    """Return up to `most` images with their data URIs, and the ids without an image file."""
    shown: list[tuple[Shown, str]] = []
    lost: list[str] = []
    for one in found:
        if len(shown) == most:
            break
        path = pictures(one.sample_id)
        data = None if path is None else thumbnail(path)
        if data is None:
            lost.append(one.sample_id)
        else:
            shown.append((one, data))
    return shown, lost


@dataclass(frozen=True)
class Look:
    """One face without and with a mask, each with its attention map: four images side by side."""

    sample_id: str
    label: str
    unmasked: str
    masked: str
    data: str


@dataclass(frozen=True)
class Attention:
    """The attention maps of one run; `splits` names the unmasked and the masked set."""

    run: str
    why: str
    splits: tuple[str, str]
    looks: tuple[Look, ...]


def attentions(runs: Sequence[ReportRun]) -> list[Attention]:
    """Return the attention maps of `runs`; unreadable folders are left out."""
    return [found for run in runs if (found := _read(run.run, run.folder / FOLDER)) is not None]


def _read(run: str, folder: Path) -> Attention | None:
    try:
        index = read_json(folder / "index.json")
        if index["schema"] != SCHEMA:
            return None
        looks = tuple(Look(one["sample_id"], one["label"], one["unmasked"], one["masked"],
                           _jpeg(read_bytes(folder / plain_name(one["file"]))))
                      for one in index["looks"])
        return Attention(run, str(index["why"]), (index["splits"][0], index["splits"][1]), looks)
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return None


def _jpeg(content: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(content).decode()

"""Where the best models look, as `fer.train.grad_cam` drew it: embedded, never computed here."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fer.report.read.load import ReportRun
from fer.study.grad_cam_runs import FOLDER, SCHEMA


@dataclass(frozen=True)
class Look:
    """One face without and with a mask, and where the model looks: four pictures side by side."""

    sample_id: str
    label: str
    unmasked: str
    masked: str
    data: str


@dataclass(frozen=True)
class Attention:
    """The looks of one run; `splits` names the unmasked and the masked set."""

    run: str
    why: str
    splits: tuple[str, str]
    looks: tuple[Look, ...]


def attentions(runs: Sequence[ReportRun]) -> list[Attention]:
    """Return what was drawn for `runs`; a folder that cannot be read is left out."""
    return [found for run in runs if (found := _read(run.run, run.folder / FOLDER)) is not None]


def _read(run: str, folder: Path) -> Attention | None:
    try:
        index = json.loads((folder / "index.json").read_text("utf-8"))
        if index["schema"] != SCHEMA:
            return None
        looks = tuple(Look(
            one["sample_id"], one["label"], one["unmasked"], one["masked"],
            "data:image/jpeg;base64," + base64.b64encode((folder / one["file"]).read_bytes()
                                                          ).decode())
            for one in index["looks"])
        return Attention(run, str(index["why"]), (index["splits"][0], index["splits"][1]), looks)
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return None

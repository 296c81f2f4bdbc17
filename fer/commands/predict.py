"""A trained model on pictures: the command behind `launch/predict.py`."""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING

from fer.data.process_map import ProcessPool
from fer.errors import CallerError, plural
from fer.inference.annotated import annotate
from fer.inference.picture_files import find_pictures
from fer.inference.picture_loader import FIRST, started_pool
from fer.inference.prediction import NOT_SURE, Prediction, columns
from fer.inference.prediction_files import (
    check_outputs,
    create_folder,
    csv_writer,
    prediction_files,
)

if TYPE_CHECKING:
    from fer.data.faces.alignment import Frame


@dataclass(frozen=True)
class Request:
    """Models, pictures and outputs.

    Attributes:
        models: names, as for `fer.load`; several are an ensemble.
        pictures: files, folders and patterns.
        out: tables to write, by suffix; none prints CSV.
        annotated: folder for annotated copies of the pictures.
        accuracy: wanted of the pictures that are called sure, on validation; None: the usual.
        batch_size: pictures in a forward pass.
        workers: loader processes; None: by the number of pictures.
        device: `auto`, `cpu` or `cuda`.
        frame: into which faces are aligned, as for `launch/data.py align`; empty: the pictures are
            cropped already.
    """

    models: Sequence[str]
    pictures: Sequence[str]
    out: Sequence[Path]
    annotated: Path | None
    accuracy: float | None
    batch_size: int
    workers: int | None
    device: str
    frame: str = ""


@dataclass
class Tally:
    """How many pictures have which answer."""

    total: int = 0
    not_sure: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, found: Sequence[Prediction]) -> None:
        """Count predictions."""
        self.total += len(found)
        self.not_sure += sum(one.answer == NOT_SURE for one in found)
        self.reasons.update(one.reason for one in found if one.reason)

    def __str__(self) -> str:
        text = f"{plural(self.total, 'picture')}, {self.not_sure} {NOT_SURE}"
        if not self.reasons:
            return text
        why = ", ".join(f"{count} {reason}" for reason, count in self.reasons.most_common())
        return f"{text}, {self.reasons.total()} unusable: {why}"


def predict_pictures(asked: Request) -> None:
    """Write a row for every picture; print a summary on standard error.

    Raises:
        CallerError: no model, no pictures, or an output of an unknown format.
    """
    check_outputs(asked.out)
    if asked.annotated is not None:
        create_folder(asked.annotated)
    files = find_pictures(asked.pictures)  # before torch is imported: a typo answers at once
    frame = _frame(asked.frame) if asked.frame else None
    with started_pool(files, asked.workers) as pool:  # its processes start while torch is imported
        tally = _predict(asked, files, frame, pool)
    where = [str(path) for path in (*asked.out, asked.annotated) if path is not None]
    print(f"{tally}{': ' if where else ''}{', '.join(where)}", file=sys.stderr)
    if tally.reasons.total() == tally.total:
        raise CallerError("no picture is usable")


def _predict(asked: Request, files: Sequence[str], frame: "Frame | None",
             pool: ProcessPool | None) -> Tally:
    from fer.inference.predictor import load

    model = load(*asked.models, accuracy=asked.accuracy, device=asked.device)
    for note in model.notes:
        print(note, file=sys.stderr)
    heads = columns(model.classes, model.calibration is not None)
    tally = Tally()
    found = model.predict(files, asked.batch_size, asked.workers, frame, pool)
    with prediction_files(asked.out, heads) as write:
        show = write if asked.out else csv_writer(sys.stdout, heads)
        for some in _batches(found, asked.batch_size):
            show(some)
            tally.add(some)
            if asked.annotated is not None:
                for one in some:
                    annotate(one, asked.annotated)
    return tally


def _frame(name: str) -> "Frame":
    """Return the frame of a template, or of a set in FER_DATA."""
    from fer.config.paths import data_root
    from fer.data.faces.framing import named_frame

    return named_frame(name, data_root())


def _batches(found: Iterator[Prediction], size: int) -> Iterator[list[Prediction]]:
    sizes = chain([min(FIRST, size)], repeat(size))  # as they are loaded
    while some := list(islice(found, next(sizes))):
        yield some

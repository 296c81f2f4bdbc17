"""Error analysis on a split: metrics, confusion matrices, pictures that all models misclassify."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from rich.console import Console
from rich.table import Table

from fer.atomic_io import write_text
from fer.config.paths import data_root
from fer.config.run import Data
from fer.data.decode import inspect_picture
from fer.data.layout import discover
from fer.data.pack_rows import fit
from fer.data.splits import folder_of
from fer.errors import CallerError, choices
from fer.evaluate.ensembles import aligned
from fer.evaluate.metrics import confusion, measure
from fer.evaluate.predictions import Predictions, read_predictions
from fer.legible import Key, make_legible, pen_font
from fer.plain_text import csv_text

MOST_MATRICES = 6  # with more models, only the table of metrics is printed
SIDE, COLUMNS, HEAD = 128, 6, 34  # pixels of a picture, pictures in a row, pixels of its caption


@dataclass(frozen=True)
class Answers:
    """One model's predictions on one split; `notes` are lines to print with them."""

    model: str
    file: Path
    notes: str = ""

    @cached_property
    def table(self) -> Predictions:
        """The predictions."""
        return read_predictions(self.file)


@dataclass(frozen=True)
class Mistake:
    """A picture that every model misclassifies, and the predicted classes."""

    sample_id: str
    label: str
    called: tuple[str, ...]


def print_answers(split: str, answers: Sequence[Answers], show: int, console: Console) -> None:
    """Print metrics and confusion matrix of each model, then the pictures all misclassify."""
    sizes = {len(one.table) for one in answers}
    same = f", n = {max(sizes):,}" if len(sizes) == 1 else ""
    rows = Table(title=f"{split}{same}", title_justify="left")
    for head in ("model", "n", "UAR", "accuracy", "macro F1", "AUROC", "NLL", "ECE"):
        rows.add_column(head, justify="left" if head == "model" else "right", overflow="fold")
    for one in answers:
        scores = measure(one.table.labels, one.table.logits, one.table.classes)
        rows.add_row(one.model, f"{len(one.table):,}", *(
            "–" if scores[key] is None else f"{scores[key]:.3f}"
            for key in ("uar", "accuracy", "macro_f1", "auroc", "nll", "ece")))
    console.print(rows)
    for one in answers if len(answers) <= MOST_MATRICES else ():
        console.print(_matrix(one))
    for line in dict.fromkeys(one.notes for one in answers if one.notes):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    try:
        found = common_mistakes(answers)
    except CallerError as error:  # the other splits are still printed
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        return
    who = f"all {len(answers)} models" if len(answers) > 1 else "the model"
    more = f"; the {show} most confident" if len(found) > show else ""
    console.print(f"wrong for {who}: {len(found):,} of {len(answers[0].table):,} pictures{more}")
    for mistake in found[:show]:
        console.print(f"  {mistake.sample_id}: {mistake.label}, predicted as "
                      f"{choices(mistake.called)}", markup=False, highlight=False, soft_wrap=True)


def common_mistakes(answers: Sequence[Answers]) -> list[Mistake]:
    """Return the pictures that every model misclassifies, the most confident mistakes first.

    Raises:
        CallerError: the models were evaluated on different pictures or have different classes.
    """
    first = answers[0].table
    for one in answers[1:]:
        if one.table.classes != first.classes:
            raise CallerError(f"{answers[0].model} and {one.model} have different classes, "
                              f"{', '.join(first.classes)} and {', '.join(one.table.classes)}; "
                              "evaluate them one at a time")
    try:
        logits = np.stack([aligned(one.table, first) for one in answers])
    except ValueError:
        raise CallerError("the runs were evaluated on different pictures, for example on different "
                          "folds; nothing to compare") from None
    predicted = logits.argmax(-1)
    wrong = (predicted != first.labels).all(axis=0)
    sure = np.mean(logits.max(-1) - logits.mean(-1), axis=0)
    return [Mistake(first.sample_ids[i], first.classes[first.labels[i]],
                    tuple(first.classes[name] for name in np.unique(predicted[:, i])))
            for i in np.argsort(-sure, kind="stable") if wrong[i]]


def _matrix(one: Answers) -> Table:
    classes = one.table.classes
    matrix = Table(title=one.model, title_justify="left", title_style="none")
    matrix.add_column("true \\ predicted")
    for name in classes:
        matrix.add_column(name, justify="right")
    counts = confusion(one.table.labels, one.table.predicted, len(classes))
    for name, row in zip(classes, counts, strict=True):
        matrix.add_row(name, *(f"{count:,}" for count in row))
    return matrix


def save_answers(folder: Path, split: str, answers: Sequence[Answers], data: Data,
                 console: Console) -> None:
    """Write a matrix for each model, and the common mistakes as a table and a contact sheet."""
    from matplotlib.figure import Figure  # slow import (0.5 s), needed only here
    from sklearn.metrics import ConfusionMatrixDisplay

    folder.mkdir(parents=True, exist_ok=True)
    name, key = split.replace("/", "-"), Key()
    for one in answers:
        table = one.table
        figure = Figure(figsize=(4.2, 3.8), layout="constrained")
        shown = ConfusionMatrixDisplay(
            confusion(table.labels, table.predicted, len(table.classes)),
            display_labels=table.classes)
        shown.plot(ax=figure.subplots(), cmap="Blues", colorbar=False)
        figure.suptitle(f"{one.model}\n{split}, n = {len(table):,}", fontsize=7)
        make_legible(figure, key)
        figure.savefig(folder / f"confusion-{name}-{one.model}.png", dpi=150)
    if key:
        words = ", ".join(f"{number} is {word}" for word, number in key.items())
        console.print(f"no font here has the letters of some names: in the matrices {words}",
                      markup=False, highlight=False, soft_wrap=True)
    try:
        found = common_mistakes(answers)
    except CallerError:  # already reported by print_answers
        return
    write_text(folder / f"wrong-{name}.csv", csv_text(
        ("sample_id", "label", "called"),
        ((one.sample_id, one.label, ";".join(one.called)) for one in found)))
    if found:
        contact_sheet(found, data).save(folder / f"wrong-{name}.png")
    console.print(f"saved in {folder}", markup=False, highlight=False, soft_wrap=True)


def contact_sheet(found: Sequence[Mistake], data: Data) -> Image.Image:
    """Return the pictures with true and predicted classes; a missing picture is grey."""
    columns = min(COLUMNS, len(found))
    lines = -(-len(found) // columns)
    sheet = Image.new("RGB", (columns * SIDE, lines * (SIDE + HEAD)), "white")
    pen = ImageDraw.Draw(sheet)
    for place, one in enumerate(found):
        left, top = place % columns * SIDE, place // columns * (SIDE + HEAD)
        sheet.paste(_picture(one.sample_id, data), (left, top))
        for line, (text, colour) in enumerate(((f"true {one.label}", (20, 20, 20)), (
                f"pred. {', '.join(one.called)}", (150, 60, 0)))):
            text, font = pen_font(text, 11)
            pen.text((left + 3, top + SIDE + 2 + 14 * line), text, colour, font)
    return sheet


def _picture(sample_id: str, data: Data) -> Image.Image:
    name, _, relative = sample_id.partition("/")
    try:
        pixels, _ = inspect_picture(discover(folder_of(name, data, data_root())) / relative)
    except (KeyError, OSError, CallerError):  # the set or the file no longer exists
        pixels = None
    if pixels is not None:
        return Image.fromarray(fit(Image.fromarray(pixels), SIDE))
    return Image.new("RGB", (SIDE, SIDE), (200, 200, 200))

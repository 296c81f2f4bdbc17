"""Merging of votes to one label a picture, and the table that `launch/data.py add` takes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal, cast, get_args

import numpy as np

from fer.annotate.label_log import NOT_A_FACE, Record
from fer.annotate.votes import Votes, most_named
from fer.data.faces.boxes import Box, agreed_box
from fer.data.metadata import EDGES, annotations_text
from fer.evaluate.agreement import majority, value_counts
from fer.evaluate.dawid_skene import dawid_skene
from fer.plain_text import csv_text

Method = Literal["majority", "dawid-skene"]
METHODS: tuple[Method, ...] = get_args(Method)
People = Literal["", "folder"]
NOTHING, TIED, NO_FACE = "nobody could tell", "tied", "not a face"


@dataclass(frozen=True)
class Merged:
    """The merged label of each picture of `Votes`, in its order.

    Attributes:
        labels: a class, or one of `NOTHING`, `TIED` and `NO_FACE`, which are left out of the table.
        certainty: share of the votes (majority) or posterior probability (Dawid-Skene) of it.
    """

    labels: tuple[str, ...]
    certainty: tuple[float, ...]


def merge(votes: Votes, method: Method) -> Merged:
    """Return one label a picture. A tie of the majority, or of the posterior, has none."""
    matrix, width = votes.matrix, len(votes.categories)
    counts = value_counts(matrix, width)
    total = counts.sum(axis=1)
    if method == "majority" or not total.any():
        best = majority(matrix, width)
        sure = counts.max(axis=1) / np.maximum(total, 1)
    else:
        posterior = dawid_skene(matrix, width).posterior
        sure = posterior.max(axis=1)
        even = (np.isclose(posterior, sure[:, None], rtol=0, atol=1e-6)).sum(axis=1) > 1
        best = np.where(even, -1, posterior.argmax(axis=1))
    labels = [NOTHING if not votes_here else TIED if at < 0 else
              NO_FACE if votes.categories[at] == NOT_A_FACE else votes.categories[at]
              for at, votes_here in zip(best, total, strict=True)]
    return Merged(tuple(labels), tuple(float(one) for one in sure))


def label_table(votes: Votes, merged: Merged, first: Votes, to_file: Mapping[str, str], split: str,
                people: People = "") -> str:
    """Return the CSV with one row a picture that has a class.

    Args:
        first: the first label of each annotator, for the column `annotations`: labels of a second
            round agree more than people do.
        to_file: picture -> how the table names its file.
        split: for the column `split`; without one there is no column.
        people: `folder`: the first folder of a picture is the person in it.
    """
    left_out = {NOTHING, TIED, NO_FACE}
    rows = []
    for at, picture in enumerate(votes.pictures):
        if merged.labels[at] in left_out:
            continue
        said = {name: votes.records[name][picture] for name in votes.annotators
                if picture in votes.records[name]}
        voted = {name: first.records[name][picture].label for name in said}
        voted = {name: label for name, label in voted.items()
                 if label in votes.categories and label != NOT_A_FACE}
        parts = PurePosixPath(picture).parts
        rows.append({
            "file": to_file[picture], "label": merged.labels[at], "split": split,
            "identity": parts[0] if people == "folder" and len(parts) > 1 else "",
            "mask_type": most_named([one.mask_type for one in said.values()]),
            "pose": most_named([one.pose for one in said.values()]),
            "annotator": "+".join(said),
            "annotations": annotations_text(voted),
            "certainty": f"{merged.certainty[at]:.3f}",
            "tags": ";".join(dict.fromkeys(tag for one in said.values() for tag in one.tags)),
            **_edges(said)})
    columns = ["file", "label", *(name for name in (
        "split", "identity", "mask_type", "pose", "annotator", "annotations", "certainty", "tags",
        *EDGES)
        if any(row[name] for row in rows))]
    return csv_text(columns, ([row[name] for name in columns] for row in rows), exact=True)


def _edges(said: Mapping[str, Record]) -> dict[str, str]:
    """Return edge -> pixels of the box of most annotators; all empty if there is none."""
    box = agreed_box({name: cast(Box, one.box) for name, one in said.items()
                      if one.box and one.label != NOT_A_FACE})
    return {edge: f"{value:.1f}" if box else "" for edge, value in
            zip(EDGES, box or (0.0,) * 4, strict=True)}

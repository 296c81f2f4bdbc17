"""The predictions table of one run on one split, the single source of all numbers in a report.

Reads and writes the table. Predictions are made in `fer.train` and scored in
`fer.evaluate.metrics`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from fer.atomic_io import replacing
from fer.plain_text import shortened
from fer.untrusted_io import NotRegular

NOBODY = "picture:"  # prefix of the cluster name of an image with an unknown person
LOGIT = "logit_"  # prefix of the logit columns, whose names and order define the classes


def named_people(clusters: Iterable[str]) -> int:
    """Return how many of the names in `Predictions.clusters` are people, not single images."""
    return len({name for name in clusters if not name.startswith(NOBODY)})


class DamagedFile(ValueError):
    """A damaged predictions file; the message names the file and the problem."""


@dataclass(frozen=True)
class Predictions:
    """The predictions of one model on the images of one split, in the order of the split.

    Attributes:
        sample_ids: N unique names.
        identities: N names of people; empty where the person is unknown.
        labels: int64, N; index into `classes`.
        logits: float32, N x C; unnormalised log-probabilities.
        classes: C names.
    """

    sample_ids: list[str]
    identities: list[str]
    labels: np.ndarray
    logits: np.ndarray
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        fault = _fault(self)
        if fault:
            raise ValueError(fault)

    def __len__(self) -> int:
        return len(self.sample_ids)

    @property
    def predicted(self) -> np.ndarray:
        """int64, N: the class with the highest logit; ties go to the first."""
        return np.argmax(self.logits, axis=1).astype(np.int64)

    @property
    def clusters(self) -> list[str]:
        """N names of the resampling units: the person, or the image if unknown."""
        return [person or f"{NOBODY}{sample}"
                for person, sample in zip(self.identities, self.sample_ids, strict=True)]


def predictions_path(folder: Path, split: str) -> Path:
    """Return the path of a run's predictions on `split`, such as `lfw/eval`."""
    return folder / "predictions" / f"{split}.parquet"


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write `predictions` to `path` atomically: one row per sample, in the given order."""
    import pyarrow as pa  # slow to import, not needed for training to start
    import pyarrow.parquet as pq

    columns = {
        "sample_id": pa.array(predictions.sample_ids, pa.string()),
        "identity": pa.array(predictions.identities, pa.string()),
        "label": pa.array(np.asarray(predictions.labels, np.int64)),
        "predicted": pa.array(predictions.predicted),
    }
    logits = np.asarray(predictions.logits, np.float32)
    for index, name in enumerate(predictions.classes):
        columns[LOGIT + name] = pa.array(np.ascontiguousarray(logits[:, index]))
    with replacing(path) as temporary:
        pq.write_table(pa.table(columns), temporary, write_page_checksum=True)


def read_predictions(path: Path) -> Predictions:
    """Return the table at `path`.

    Raises:
        FileNotFoundError: the file does not exist.
        DamagedFile: the file is not a complete predictions table.
    """
    return parse_predictions(path, str(path))


def parse_predictions(source: Path | BinaryIO, path: str) -> Predictions:
    """Return the table in an open file or at a path, as `read_predictions` does.

    Args:
        path: the name of the source in errors.
    """
    import pyarrow as pa

    from fer.parquet_io import open_parquet, read_bounded

    try:
        file = open_parquet(source, ("sample_id", "identity"))
        _refuse_other_types(file, path)
        table = read_bounded(file)
        names = [name for name in table.column_names if name.startswith(LOGIT)]
    except (FileNotFoundError, DamagedFile):
        raise
    except NotRegular:
        raise DamagedFile(f"{path}: not a regular file") from None
    except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: a name is not UTF-8
        raise DamagedFile(f"{path}: not a readable parquet file ({_first_line(error)})") from error
    missing = {"sample_id", "identity", "label", "predicted"} - set(table.column_names)
    if missing:
        raise DamagedFile(f"{path}: no column {', '.join(sorted(missing))}")
    if len(set(table.column_names)) < len(table.column_names):
        raise DamagedFile(f"{path}: has duplicate columns")
    if any(column.null_count for column in table.columns):
        raise DamagedFile(f"{path}: has empty cells")
    if not names:
        raise DamagedFile(f"{path}: no column {LOGIT}CLASS")
    try:
        found = Predictions(
            sample_ids=table["sample_id"].to_pylist(),
            identities=table["identity"].to_pylist(),
            labels=table["label"].to_numpy().astype(np.int64),
            logits=np.stack([table[name].to_numpy() for name in names], 1).astype(np.float32),
            classes=tuple(name[len(LOGIT):] for name in names),
        )
    except ValueError as error:
        raise DamagedFile(f"{path}: {error}") from error
    if not np.array_equal(table["predicted"].to_numpy(), found.predicted):
        raise DamagedFile(f"{path}: the column predicted is not the class of the highest logit")
    return found


def stacked(tables: Sequence[Predictions]) -> Predictions:
    """Return the predictions of several models, each on other images, as one table.

    Raises:
        ValueError: classes differ, or two models predict the same image.
    """
    first = tables[0]
    if any(table.classes != first.classes for table in tables):
        raise ValueError("the models have different classes")
    return Predictions([name for table in tables for name in table.sample_ids],
                       [name for table in tables for name in table.identities],
                       np.concatenate([table.labels for table in tables]),
                       np.concatenate([table.logits for table in tables]), first.classes)


def _refuse_other_types(file: Any, path: str) -> None:
    """Raise a `DamagedFile` for columns of other types than those of `write_predictions`."""
    from pyarrow import types

    from fer.parquet_io import value_type

    for field in file.schema_arrow:
        fits = (types.is_floating if field.name.startswith(LOGIT) else
                types.is_integer if field.name in ("label", "predicted") else
                types.is_string if field.name in ("sample_id", "identity") else lambda kind: True)
        if not fits(value_type(field.type)):
            raise DamagedFile(f"{path}: a column {shortened(field.name)} of {field.type}")


def _fault(table: Predictions) -> str | None:
    """Return an inconsistency in `table`; None if there is none."""
    size, width = len(table.sample_ids), len(table.classes)
    if not len(table.identities) == len(table.labels) == size:
        return (f"{size} sample ids, {len(table.identities)} identities, "
                f"{len(table.labels)} labels")
    if table.logits.shape != (size, width):
        return f"logits of shape {table.logits.shape} for {size} samples and {width} classes"
    if len(set(table.sample_ids)) != size:
        return "a sample id appears twice"
    if size and not (table.labels.min() >= 0 and table.labels.max() < width):
        return f"a label outside 0..{width - 1}"
    if not np.isfinite(table.logits).all():
        return "logits are not finite"
    return None


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]

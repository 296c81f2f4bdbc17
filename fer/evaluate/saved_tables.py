"""Metrics and probabilities of evaluated models for other programs, as CSV and JSON."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fer.atomic_io import write_json, write_text
from fer.evaluate.calibration import Calibration
from fer.evaluate.metrics import log_probabilities, measure
from fer.evaluate.predictions import Predictions
from fer.plain_text import csv_text

SCALARS = ("n", "accuracy", "uar", "macro_f1", "auroc", "nll", "ece", "brier")
BY_CLASS = ("recall", "precision", "support")

Row = dict[str, Any]


def save_tables(folder: Path, split: str, models: Mapping[str, Predictions],
                calibrations: Mapping[str, Calibration]) -> None:
    """Write `metrics-SPLIT` for all models and `probabilities-SPLIT-MODEL` for each.

    Args:
        folder: created if missing.
        split: such as `real/test`; a slash becomes a dash.
        models: name -> predictions.
        calibrations: of some of the models.
    """
    name = split.replace("/", "-")
    metrics = {model: measure(table.labels, table.logits, table.classes)
               for model, table in models.items()}
    write_json(folder / f"metrics-{name}.json", metrics)
    _write_csv(folder / f"metrics-{name}.csv",
               [_metrics_row(model, one) for model, one in metrics.items()])
    for model, table in models.items():
        rows = probability_rows(table, calibrations.get(model))
        _write_csv(folder / f"probabilities-{name}-{model}.csv", rows)
        write_json(folder / f"probabilities-{name}-{model}.json", rows)


def probability_rows(table: Predictions, calibration: Calibration | None) -> list[Row]:
    """Return a row a picture; the columns of classes are those of `launch/predict.py`."""
    kinds = {"probability": np.exp(log_probabilities(table.logits))}
    if calibration is not None:
        kinds["calibrated"] = calibration.probabilities(table.logits)
    predicted = table.predicted
    return [{"sample_id": sample, "identity": table.identities[row],
             "true": table.classes[table.labels[row]], "label": table.classes[predicted[row]],
             **{f"{kind}_{name}": float(values[row, column]) for kind, values in kinds.items()
                for column, name in enumerate(table.classes)}}
            for row, sample in enumerate(table.sample_ids)]


def _metrics_row(model: str, metrics: Mapping[str, Any]) -> Row:
    return {"model": model, **{name: metrics[name] for name in SCALARS},
            **{f"{kind}_{name}": value for kind in BY_CLASS
               for name, value in metrics[kind].items()}}


def _write_csv(path: Path, rows: Sequence[Row]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    write_text(path, csv_text(names, ([row.get(name, "") for name in names] for row in rows)))

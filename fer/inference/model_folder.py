"""A folder to publish: weights, configuration, preprocessing, example and model card of a run."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fer.atomic_io import building_folder, write_json, write_text, write_yaml
from fer.config.backbone import Backbone
from fer.config.load import dump
from fer.config.paths import data_root
from fer.config.run import RunConfig
from fer.errors import CallerError, choices
from fer.evaluate.calibration import ACCURACY, Calibration, calibrate
from fer.inference.model_card import CardFacts, model_card
from fer.inference.model_scores import score_run
from fer.inference.model_source import ABOUT, WEIGHTS, find_models
from fer.models.classifier import Classifier
from fer.models.weights import load_model
from fer.report.study_report import facts_of
from fer.study.run_folder import RunFolder
from fer.untrusted_io import read_json

SCHEMA = 1
EXAMPLE = '''\
"""Classify pictures of faces with this model: python example.py PICTURE..."""

import sys
from pathlib import Path

from fer import load

model = load(Path(__file__).parent)
for one in model.predict(sys.argv[1:]):
    print(one.file, one.reason or one.answer, one.calibrated or one.probabilities)
'''


def export_folder(run: RunFolder, folder: Path, licence: str, data_licences: Mapping[str, str],
                  accuracy: float = ACCURACY) -> Classifier:
    """Write the folder of a trained run; return its model.

    Args:
        folder: must not exist, or be empty.
        licence: identifier of the hub for the weights, such as `mit` or `other`.
        data_licences: data set -> licence, for the card.
        accuracy: wanted of the pictures that are called sure, on validation.

    Raises:
        CallerError: the folder has content, or a licence is for no data set of the run.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise CallerError(f"{folder} exists; remove it or name another folder")
    config = run.config
    for name in data_licences:
        if name not in config.data.sets:
            raise CallerError(f"--data-licence: no data set '{name}'; there are: "
                              f"{choices(config.data.sets)}")
    (source,) = find_models(str(run.path))
    table = source.validation
    calibration = None if table is None or not len(table) else calibrate(
        table.labels, table.logits, source.split, accuracy)
    model = load_model(source.weights)
    scores = score_run(run, facts_of(config.data, data_root()))
    card = CardFacts(run.name, run.run_id, config, scores, calibration, _environment(run),
                     sum(p.numel() for p in model.parameters()), licence, data_licences)
    with building_folder(folder) as building:
        shutil.copyfile(source.weights, building / WEIGHTS)
        write_yaml(building / "config.yaml", dump(without_places(config)))
        write_json(building / ABOUT, describe(run, model, calibration))
        write_text(building / "example.py", EXAMPLE)
        write_text(building / "README.md", model_card(card))
    return model


def describe(run: RunFolder, model: Classifier, calibration: Calibration | None) -> dict[str, Any]:
    """Return the content of `preprocessing.json`."""
    backbone: Backbone = model.backbone
    return {"schema": SCHEMA, "name": run.name, "run_id": run.run_id,
            "classes": list(model.classes), "precision": run.config.compute.precision,
            "input": {"channels": "RGB", "resize_shorter_side": backbone.input_size,
                      "interpolation": "bilinear, antialiased", "center_crop": backbone.input_size,
                      "grey": backbone.grey, "divide_by": 255, "mean": list(backbone.mean),
                      "std": list(backbone.std)},
            "calibration": calibration.to_json() if calibration else None}


def without_places(config: RunConfig) -> RunConfig:
    """Return a configuration, with its parents, that names no folder of this machine."""
    sets = {name: one.model_copy(update={"folder": Path(one.folder).name})
            if Path(one.folder).is_absolute() else one for name, one in config.data.sets.items()}
    return config.model_copy(update={
        "data": config.data.model_copy(update={"sets": sets}),
        "parents": {role: without_places(parent) for role, parent in config.parents.items()}})


def _environment(run: RunFolder) -> dict[str, Any]:
    try:
        return dict(read_json(run.path / "env.json"))
    except (FileNotFoundError, ValueError):  # an incomplete copy: the card says less
        return {}

"""`sweeps/starts.yaml`: the same recipe from six starts, planned; its twin run to the report."""

import csv
from pathlib import Path

import pytest
import torch
from conftest import launch
from start_files import shapes_alone, write_starts
from test_twin_studies import SMALL

from fer.config.backbone import Backbone
from fer.config.load import load_study
from fer.config.paths import cache
from fer.config.weights_file import weights_path
from fer.study.starting_weights import files_of


def test_the_twin_has_the_design_of_its_study() -> None:
    study, twin = (load_study(f"sweeps/{name}.yaml") for name in ("starts", "starts_drawn"))
    assert len(study.grid["backbone"]) == len(twin.grid["backbone"]) == 6
    for key in study.grid.keys() - {"backbone", "seed"}:
        assert twin.grid[key] == study.grid[key]
    assert (twin.compare, twin.gap, twin.evaluate_on) == (
        study.compare, study.gap, study.evaluate_on)


@pytest.mark.slow
def test_the_study_is_planned_with_files_of_the_right_shapes_and_not_without(places: Path) -> None:
    files = files_of(["sweeps/starts.yaml"])
    assert len(files) == 6 and all(name.startswith("hf:") for name in files)
    for file, backbone in files.items():
        path = weights_path(cache(), file)
        path.parent.mkdir(parents=True)
        torch.save(shapes_alone(backbone), path)
    done = launch("sweep", "sweeps/starts.yaml", "--dry-run", "grid.seed=[0]", "compute.device=cpu")
    assert done.returncode == 0, done.stderr
    assert "6 runs" in done.stdout
    path.unlink()
    missing = launch("sweep", "sweeps/starts.yaml", "--dry-run", "grid.seed=[0]")
    assert missing.returncode == 2 and "pretrained weights are missing" in missing.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_twin_runs_from_its_files_to_the_report(tmp_path: Path) -> None:
    write_starts(tmp_path / "cache")
    done = launch("sweep", "sweeps/starts_drawn.yaml", "--cluster", "local", *SMALL,
                  FER_DATA=str(tmp_path / "data"), FER_HOME=str(tmp_path / "home"),
                  FER_CACHE=str(tmp_path / "cache"), timeout=550)
    assert done.returncode == 0, done.stdout + done.stderr
    report = tmp_path / "home/studies/starts_drawn/report"
    rows = list(csv.DictReader((report / "results.csv").read_text().splitlines()))
    names = {Backbone.model_validate(block).name
             for block in load_study("sweeps/starts_drawn.yaml").grid["backbone"]}
    assert {row["backbone"] for row in rows} == names and len(rows) == 6 * 3
    logs = {path.parents[1].name.split("-")[0]: path.read_text()
            for path in (tmp_path / "home/runs").glob("*/logs/train.log")}
    for name, log in logs.items():
        assert "100 % of its weights" in log, name
        assert ("interpolated" in log) == (name in ("tiny_dinov2", "tiny_siglip2", "tiny_clip"))

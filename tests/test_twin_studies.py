"""The small twins of the shipped studies: the same design on drawn faces, run from end to end."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY, launch

from fer.config.blocks import block_names
from fer.config.load import load_run, load_study
from fer.config.yaml_io import parse_overrides
from fer.study.expand import cells

SMALL = ["grid.seed=[0]", "train.epochs=1", "keep.tensorboard=false", "data.drawn.lfw_train=240",
         "data.drawn.lfw_eval=60", "data.drawn.real_test=60", "data.drawn.people_train=120"]
TWINS = {"paper": ["grid.backbone=[cbam_tiny]"],  # every recipe once
         "close_the_gap": ["grid.train_on=[mlfw,lfw]", "grid.loss.mask_type_weights=[none]"]}


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_has_the_design_of_its_study(name: str) -> None:
    study, twin = load_study(f"sweeps/{name}.yaml"), load_study(f"sweeps/{name}_drawn.yaml")
    for key in study.grid.keys() - {"backbone", "seed"}:
        assert twin.grid[key] == on_drawings(study.grid[key])
    assert twin.compare == study.compare and twin.gap == study.gap
    assert twin.exclude == on_drawings(study.exclude) and twin.evaluate_on == study.evaluate_on


def on_drawings(values: Any) -> Any:
    """Return values with masks drawn by the template of drawings."""
    return json.loads(json.dumps(values).replace('"funnelled"', '"drawn"'))


@pytest.mark.parametrize("name", ["close_the_gap", "close_the_gap_drawn"])
def test_recipes_that_draw_masks_on_the_fly_are_compared_under_the_same_masks(name: str) -> None:
    """`recommended` brings masks of its own; beside others it would be compared with those too."""
    study = load_study(f"sweeps/{name}.yaml")
    drawing = [cell for cell in cells(study) if cell["train_on"] == "lfw"]
    assert {cell["recipe"] for cell in drawing} > {"recommended", "imagenet_full"}
    (masks,) = {load_run(study.base, cell).train.masks for cell in drawing}
    assert masks is not None and masks == load_run(study.base, {
        "recipe": "recommended", "train_on": "lfw", "train.masks.template": masks.template
    }).train.masks


def test_what_closes_the_gap_is_asked_of_every_recipe_that_might() -> None:
    recipes = load_study("sweeps/close_the_gap.yaml").grid["recipe"]
    assert {"imagenet_full", "lp_ft"} <= set(recipes)
    for name in block_names("recipe"):
        recipe = load_run("configs/drawn.yaml", {"recipe": name, "train_on": "mlfw"}).recipe
        averaged = any(phase.average for phase in recipe.phases)
        if recipe.paired or recipe.combine or averaged:
            assert name in recipes or name == "bn_real"  # which has a study of its own


@pytest.mark.slow
@pytest.mark.timeout(1300)  # about four minutes alone; it shares two cores with three others
@pytest.mark.parametrize("name", TWINS)
def test_a_twin_runs_from_drawing_to_report(name: str, tmp_path: Path) -> None:
    done = launch("sweep", f"sweeps/{name}_drawn.yaml", "--cluster", "local", *SMALL, *TWINS[name],
                  FER_DATA=str(tmp_path / "data"), FER_HOME=str(tmp_path / "home"),
                  FER_CACHE=str(tmp_path / "cache"), timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    report = tmp_path / f"home/studies/{name}_drawn/report"
    rows = list(csv.DictReader((report / "results.csv").read_text().splitlines()))
    study = load_study(f"sweeps/{name}_drawn.yaml")
    assert {row["recipe"] for row in rows} == set(study.grid["recipe"])
    assert {row["test_on"] for row in rows} == set(study.evaluate_on)
    assert (report / "index.html").stat().st_size > 100_000
    narrowed = load_study(f"sweeps/{name}_drawn.yaml", parse_overrides([*SMALL, *TWINS[name]]))
    assert len({row["run_id"] for row in rows}) == len(cells(narrowed)) > 12
    if name == "close_the_gap":  # the tables of docs/closing_the_gap.md
        said = subprocess.run([sys.executable, "benchmarks/gap_table.py", str(report)],
                              cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
        assert said.count("| ten styles on the fly |") >= 5 and "| `recommended` | ten" in said

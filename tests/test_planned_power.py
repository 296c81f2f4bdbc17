"""What a planned study could detect is what simulated studies of its sizes find."""

import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY, write_toy_set
from scipy.special import ndtri

from fer.config.load import load_run
from fer.config.run import Data
from fer.config.study import Study
from fer.evaluate import planned_power
from fer.evaluate.intervals import SeedSpread, SignedSum, contrast
from fer.evaluate.jackknife import mean_of_shares
from fer.evaluate.planned_power import Plan, PlannedSet, detectable_in, planned_error, why_no_claim
from fer.study.expand import Run
from fer.study.inputs import InputDigests
from fer.study.planned_comparisons import planned_set, power_lines

sys.path.insert(0, str(REPOSITORY / "benchmarks"))

import interval_simulation as simulation

REAL = PlannedSet((11, 52, 72), 93)  # of the 2021 study


@pytest.mark.parametrize("cell", [
    simulation.Cell(135, 135, 2, 8, "middling"), simulation.Cell(15, 360, 3, 8, "middling")])
def test_the_planned_error_is_that_of_simulated_studies(
    cell: simulation.Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planned_power, "SEED_SPREAD", 0.03)  # of the simulation
    rng = np.random.default_rng(3)
    wide = 1 + simulation.PERSON ** 2 + simulation.PICTURE ** 2 + simulation.OWN ** 2
    ease = ndtri(simulation.LEVELS[cell.level]) * (wide + simulation.SEED_SPREAD ** 2) ** 0.5
    errors, worth, freedom = [], [], []
    for _ in range(25):
        quality = simulation.SEED_SPREAD * rng.normal(size=(cell.configs, cell.seeds))
        hits, support, facts = simulation._draw(rng, cell, ease, quality, 0)
        scores = [SignedSum(((1.0, mean_of_shares(one, support, facts)),)) for one in hits]
        one = contrast([(1.0, scores[1]), (-1.0, scores[0])], SeedSpread.pooled(scores))
        errors.append(one.error)
        worth.append(one.worth)
        freedom.append(one.df)
    pictures = tuple(int(n) for n in support.sum(0))
    planned, df = planned_error(PlannedSet(pictures, float(np.mean(worth))),
                                Plan(cell.configs, cell.seeds, 1, cell.configs - 1))
    assert planned == pytest.approx(np.mean(errors), rel=0.2)
    assert df == pytest.approx(np.mean(freedom), rel=0.4)


def test_seeds_pictures_settings_and_fewer_comparisons_find_smaller_differences() -> None:
    base = detectable_in(REAL, Plan(8, 3, 1, 7))
    assert 0.10 < detectable_in(REAL, Plan(8, 5, 1, 7)) < base < detectable_in(
        REAL, Plan(8, 2, 1, 7)) < 0.25
    assert detectable_in(REAL, Plan(8, 3, 4, 7)) < base / 1.5
    assert detectable_in(REAL, Plan(8, 3, 1, 2)) < base
    assert detectable_in(PlannedSet((44, 208, 288), 372), Plan(8, 3, 1, 7)) < base


@pytest.mark.parametrize(("test", "plan", "said"), [
    (PlannedSet((30, 30), 5.0), Plan(8, 3, 1, 7), "people worth 5 of 8"),
    (PlannedSet((30, 30), 12.0), Plan(12, 3, 1, 11), "people worth 12 of 15"),
    (PlannedSet((4, 30), 30.0), Plan(8, 3, 1, 7), "a class has 4 of 5 pictures"),
    (PlannedSet((30, 30), 30.0), Plan(8, 1, 1, 7), "these trained models only"),
    (PlannedSet((30, 30), 30.0), Plan(8, 2, 1, 7), "")])
def test_a_plan_that_can_claim_nothing_is_said(test: PlannedSet, plan: Plan, said: str) -> None:
    why = why_no_claim(test, plan)
    assert why.startswith(said) and bool(why) == bool(said)


def test_the_lines_of_a_dry_run_have_the_sizes_of_the_study(tmp_path: Path) -> None:
    write_toy_set(tmp_path / "REAL-FER", "test", people=20, size=32)
    data = Data.model_validate({"sets": {"real": {"folder": "REAL-FER"}}})
    contents = InputDigests(tmp_path, tmp_path / "cache")
    assert planned_set("real/test", data, contents) == PlannedSet((20, 20, 20), pytest.approx(20))
    config = load_run("configs/drawn.yaml")
    runs = [Run(config.model_copy(update={
        "train_on": name, "seed": seed,
        "backbone": config.backbone.model_copy(update={"name": backbone})}),
        f"{name}{backbone}{seed}", f"{name}{backbone}", axes={"train_on": name, "seed": str(seed)})
        for name in ("lfw", "mlfw", "many") for backbone in ("a", "b") for seed in (0, 1)]
    study = Study.model_validate({
        "schema": 1, "study": "x", "base": "b", "grid": {"seed": [0]},
        "evaluate_on": ["real/test"], "compare": {
            "sets": {"over": "train_on", "against": "mlfw", "on": ["real/test"]},
            "pairs": {"over": "train_on", "on": ["real/test"]},
            "none": {"over": "recipe", "against": "lp_ft", "on": ["real/test"]}}})
    one, two, assumed = power_lines(study, runs, data, contents)
    assert one.startswith("power: sets on real/test: a difference in UAR of about ")
    assert one.endswith("(80 % power; 2 comparisons, each a mean of 2 settings, 2 seeds, "
                        "60 pictures of people worth 20)")
    assert "6 comparisons, 2 seeds" in two
    assert "assumes recalls of 0.65, a spread of 2 points between seeds" in assumed

"""Runs made of trained ones: with parents, chosen on validation, measured like any other."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import launch, toy_arguments
from test_features import weights
from test_mistakes import said_in_one_line
from test_training import epochs, trained

from fer.config.load import load_run
from fer.evaluate.calibration import best_temperature
from fer.evaluate.metrics import log_probabilities
from fer.evaluate.predictions import read_predictions
from fer.study.run_folder import RunFolder, Store
from fer.train.model_soup import weighted_mean


def members(folder: RunFolder) -> list[RunFolder]:
    ids = folder.config.inputs.parents
    found = {one.run_id: one for one in Store(folder.path.parents[1])}
    return [found[ids[f"member{number}"]] for number in range(len(ids))]


def facts(folder: RunFolder) -> dict[str, Any]:
    return json.loads((folder.path / "train.json").read_text())


def test_wise_ft_goes_from_the_probe_to_the_fine_tuned_run(places: Path) -> None:
    folder = trained(("real/test",), recipe="wise_ft", train_on="mlfw")
    lines, parents = epochs(folder), members(folder)
    assert [line["alpha"] for line in lines] == [round(number / 10, 6) for number in range(11)]
    for line, parent in ((lines[0], parents[0]), (lines[-1], parents[1])):
        assert line["val_uar"] == pytest.approx(facts(parent)["best_score"])
    assert [parent.config.recipe.name for parent in parents] == ["linear_probe", "probe_then_full"]
    assert facts(folder)["best_score"] == max(line["val_uar"] for line in lines)
    chosen = lines[facts(folder)["best_epoch"] - 1]["alpha"]
    own, first, second = weights(folder), *map(weights, parents)
    expected = first["fc.weight"].lerp(second["fc.weight"], chosen)
    assert torch.allclose(own["fc.weight"], expected, atol=1e-6)
    assert json.loads(folder.result("real/test").read_text())["n"] == 24


@pytest.mark.slow
def test_statistics_are_estimated_anew_where_weights_are_mixed(places: Path) -> None:
    folder = trained(recipe="soup", train_on="mlfw")
    own, parents = weights(folder), [weights(parent) for parent in members(folder)]
    keys = [key for key in own if key.endswith("running_mean")]
    assert keys and len(parents) == 3
    for key, tensor in own.items():
        mean = torch.stack([parent[key].double() for parent in parents]).mean(0).float()
        if tensor.is_floating_point():
            assert torch.allclose(tensor, mean, atol=1e-6) == ("running" not in key), key


@pytest.mark.slow
def test_the_greedy_soup_is_no_worse_on_validation_than_its_best_member(places: Path) -> None:
    folder = trained(recipe="greedy_soup", train_on="mlfw")
    best = max(facts(parent)["best_score"] for parent in members(folder))
    lines = epochs(folder)
    assert [line["members"] for line in lines[:3]] == [[0], [1], [2]] and len(lines) == 5
    assert facts(folder)["best_score"] >= best
    tried = max(lines, key=lambda line: line["val_uar"])["members"]
    own, parents = weights(folder), [weights(parent) for parent in members(folder)]
    mean = sum(parents[number]["fc.weight"] for number in tried) / len(tried)
    assert torch.allclose(own["fc.weight"], mean, atol=1e-6)
    assert len({parent.config.inputs.parents["init"] for parent in members(folder)}) == 1


def test_a_temperature_changes_how_sure_a_run_is_and_nothing_it_says(places: Path) -> None:
    folder = trained(("real/test",), recipe="temperature", train_on="mlfw")
    parent = trained(("real/test",), recipe="lp_ft", train_on="mlfw")
    assert [one.name for one in members(folder)] == [parent.name]
    own, other = (read_predictions(f.predictions("real/test")) for f in (folder, parent))
    temperature = epochs(folder)[0]["temperature"]
    assert temperature != 1 and np.allclose(own.logits * temperature, other.logits, atol=1e-4)
    assert (own.predicted == other.predicted).all()


def test_the_best_temperature_gives_the_least_loss() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(400, 3))
    labels = np.array([rng.choice(3, p=np.exp(row)) for row in log_probabilities(logits)])
    assert best_temperature(labels, logits * 4.0) == pytest.approx(4.0, rel=0.25)
    grid = np.linspace(2, 8, 601)
    losses = [-log_probabilities(logits * 4 / t)[np.arange(400), labels].mean() for t in grid]
    assert best_temperature(labels, logits * 4.0) == pytest.approx(grid[np.argmin(losses)], abs=.02)


def test_means_are_weighted_and_counts_are_the_first_ones() -> None:
    states = [{"w": torch.full((2,), value), "n": torch.tensor(int(value))} for value in (1., 5.)]
    found = weighted_mean(states, [0.25, 0.75])
    assert torch.equal(found["w"], torch.full((2,), 4.0)) and found["n"] == 1


@pytest.mark.slow
def test_the_same_combination_twice_has_the_same_bytes(
    places: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = trained(recipe="wise_ft", train_on="mlfw")
    monkeypatch.setenv("FER_HOME", str(tmp_path / "again"))
    second = trained(recipe="wise_ft", train_on="mlfw")
    assert first.name == second.name and epochs(first) == epochs(second)
    assert all(torch.equal(tensor, weights(second)[key]) for key, tensor in weights(first).items())


@pytest.mark.slow
def test_a_study_of_combined_runs_trains_each_parent_once(places: Path, toy_study: Any) -> None:
    study = toy_study({"recipe": ["linear_probe", "probe_then_full", "wise_ft", "greedy_soup",
                                  "temperature"], "train_on": ["mlfw"], "seed": [0]})
    done = launch("sweep", study, "--cluster", "local")
    assert done.returncode == 0, done.stdout + done.stderr
    names = sorted(path.name.split("-mlfw-")[0] for path in (places / "runs").glob("*-mlfw-*"))
    assert names == sorted(f"resmasking_tiny-{name}" for name in (
        "linear_probe", "probe_then_full", "probe_then_full", "probe_then_full", "wise_ft",
        "greedy_soup", "temperature", "lp_ft"))
    table = (places / "studies/toy/report/results.csv").read_text()
    assert all(f",{name}," in table for name in ("wise_ft", "greedy_soup", "temperature"))
    assert ",lp_ft," not in table  # a parent, not asked for
    again = launch("sweep", study, "--cluster", "local")
    assert "nothing to train" in again.stdout


@pytest.mark.parametrize(("combine", "words"), [
    ("{how: wise_ft, of: [{recipe: lp_ft}]}", ("wise_ft needs 2 runs, not 1",)),
    ("{how: uniform_soup, of: [{recipe: lp_ft, seed: 1}, {recipe: lp_ft, seed: 2}]}",
     ("do not start from the same",)),
    ("{how: greedy_soup, of: [{recipe: scratch, seed: 1}, {recipe: scratch, seed: 2}]}",
     ("scratch", "random")),
    ("{how: uniform_soup, of: [{recipe: lp_ft}, {recipe: lp_ft, backbone: cbam_tiny}]}",
     ("all must be of backbone resmasking_tiny",)),
    ("{how: temperature, of: [{seed: 1}]}", ("loop",)),
    ("{how: stew, of: [{recipe: lp_ft}]}", ("wise_ft",)),
], ids=["one", "heads", "scratch", "backbones", "itself", "unknown"])
def test_what_cannot_be_combined_is_one_line(
    combine: str, words: tuple[str, ...], places: Path
) -> None:
    said_in_one_line(launch("train", "configs/drawn.yaml", *toy_arguments(),
                            f"recipe={{name: mine, combine: {combine}}}"), *words)


def test_a_recipe_that_trains_and_combines_is_refused() -> None:
    with pytest.raises(Exception, match="at least 1 phase"):
        load_run("configs/drawn.yaml", {"recipe": "wise_ft", "recipe.phases": [
            {"name": "a", "train": "all"}]})


def test_explain_says_what_is_combined(places: Path) -> None:
    done = launch("train", "configs/drawn.yaml", "recipe=wise_ft", "--explain")
    assert done.returncode == 0, done.stderr
    assert "wise_ft of the runs above" in done.stdout and "phase probe" in done.stdout


@pytest.mark.slow
def test_one_checkpoint_is_left(places: Path) -> None:
    folder = trained(recipe="wise_ft", train_on="mlfw")
    (checkpoint,) = folder.path.glob("checkpoints/step-*")
    assert {path.name for path in checkpoint.iterdir()} == {
        "model.safetensors", "state.json", "manifest.json"}


def test_statistics_of_unlabelled_pictures_change_nothing_else(places: Path) -> None:
    folder = trained(("real/test",), recipe="bn_real", train_on="mlfw")
    (parent,) = members(folder)
    own, before = weights(folder), weights(parent)
    for key, tensor in own.items():
        moved = "running" in key or "num_batches" in key
        assert moved or torch.equal(tensor, before[key]), key
    assert not all(torch.equal(own[key], before[key]) for key in own if "running_mean" in key)
    assert folder.config.inputs.digests["real/test"]
    assert json.loads((folder.path / "env.json").read_text())["unlabelled"] == ["real/test"]
    assert epochs(folder)[0]["unlabelled"] == "real/test"

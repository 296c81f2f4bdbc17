"""The losses of every shipped recipe through the engine itself: they never move unnoticed.

Two epochs of eleven steps a phase on toy pictures, with the recipe's schedules, class weights,
label smoothing and clipping; of runs that combine others the validation loss of each candidate.
"""

import json
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest
from conftest import TOY, launch
from test_training import epochs, trained

from fer.config.blocks import block_names
from fer.config.load import load_run

RECIPES = block_names("recipe")
GOLDEN = Path(__file__).parent / "golden/recipe_losses.json"
START = "start.safetensors"
FIRST, LATER = 2e-3, 3e-2
"""Tolerances of the first line of a run from a weights file, and of later ones and of runs that
start from another run: the rounding of another processor grows to 2.6 percent in their steps
(AVX2 and AVX-512; in SSE4.1 to seven, where three recipes fail). `tests/record.py` compares two
commits on one machine byte for byte.
"""
SETTINGS = {"train_on": "mlfw", "train.batch_size": 8, "train.epochs": 2, "train.select": "best",
            "train.score": "loss", "train.best_over": "all_phases",
            "optim.lr": 5e-4, "optim.clip_norm": 1.0, "loss.class_weights": [2.0, 0.7, 0.6],
            "loss.label_smoothing": 0.1, "data.sets.fer2013.folder": "LFW-FER"}
CHAINS = {"lfw_then_target", "fer2013_then_target"}  # on the same toy pictures: from alike parents
OF_BLOCKS = {"llrd_blocks", "last_blocks"}  # need a network of timm: its tiny ViT, random weights
ONLY = ("train_loss", "val_loss", "lr", "alpha", "temperature")


@pytest.fixture(scope="module")
def shared_home(toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Places in which recipes find the parents that others have trained, and the weights to start
    from: of a few slow steps, since in many fast ones the rounding of processors grows to a percent
    of a loss.
    """
    folder = tmp_path_factory.mktemp("golden")
    with pytest.MonkeyPatch.context() as patch:
        for name, path in (("FER_DATA", toy_data), ("FER_HOME", folder / "home"),
                           ("FER_CACHE", folder / "cache")):
            patch.setenv(name, str(path))
        start = trained(**{**SETTINGS, "train_on": "people"}, recipe="scratch")
        (folder / "cache/weights").mkdir()
        done = launch("weights", "export", start.name, folder / "cache/weights" / START)
        assert done.returncode == 0, done.stderr
        yield


def lines(name: str) -> list[list[float]]:
    """Train a recipe, each phase for two epochs; returns the numbers of each line it wrote."""
    config = load_run("configs/drawn.yaml", {**TOY, **SETTINGS, "recipe": name})
    start: dict[str, object] = {"backbone.pretrained": {"source": "file", "file": START}}
    own = {} if config.recipe.combine else {"recipe.phases": [
        {**phase.model_dump(mode="json", exclude_none=True), "epochs": 2,
         **({"l2sp": 30.0} if phase.l2sp else {})}  # in so few steps the recipe's own hardly shows
        for phase in config.recipe.phases]}
    if name in OF_BLOCKS:
        start = {"backbone": "timm/test_vit", "backbone.input_size": 48,
                 "recipe.init.source": "scratch"}
    slower = {"optim.lr": 2e-5} if name == "temperature" else {}  # else validation is all right
    folder = trained(**{**SETTINGS, **start, **own, **slower}, recipe=name)
    found = epochs(folder)
    if not config.recipe.combine:
        names = [phase.name for phase in config.recipe.phases for _ in range(2)]
        assert [line["phase"] for line in found] == names
        assert found[-1]["step"] == 11 * len(names)
    return [[line[key] for key in ONLY if key in line] for line in found]


@pytest.mark.parametrize("name", RECIPES)
def test_the_losses_of_a_recipe_are_the_golden_ones(name: str, shared_home: None) -> None:
    """Where the mathematics change on purpose: delete the file, run this, raise NUMERICS."""
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    found = lines(name)
    if name not in golden:
        rounded = [[float(f"{value:.5g}") for value in line] for line in found]
        GOLDEN.write_text(json.dumps({**golden, name: rounded}) + "\n")
        pytest.fail(f"{GOLDEN} had no losses of {name}; they were written: look at them, commit")
    assert len(found) == len(golden[name])
    later = load_run("configs/drawn.yaml", {**TOY, **SETTINGS, "recipe": name}).parents
    for number, (mine, kept) in enumerate(zip(found, golden[name], strict=True)):
        assert mine == pytest.approx(kept, rel=LATER if number or later else FIRST, abs=2e-4)


def test_golden_losses_differ_between_recipes_that_differ() -> None:
    golden = json.loads(GOLDEN.read_text())
    assert golden.keys() == set(RECIPES)
    for one, two in combinations(golden, 2):
        if len(golden[one]) != len(golden[two]) or {one, two} == CHAINS:
            continue
        assert any(mine != pytest.approx(other, rel=2e-2) for mine, other in
                   zip(golden[one], golden[two], strict=True)), (one, two)

"""Configuration: unknown keys are refused with place and choices; the resolved YAML runs again."""

import json
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY, launch

from fer.atomic_io import write_yaml
from fer.commands.schemas import editor_schemas
from fer.config.blocks import block_names
from fer.config.load import dump, load_run, load_search, load_study
from fer.config.run import RunConfig
from fer.config.yaml_io import parse_overrides, parse_yaml, read_tree
from fer.errors import CallerError
from fer.search.trial_runs import TrialFactory
from fer.study.inputs import InputDigests

DRAWN = "configs/drawn.yaml"


@pytest.mark.parametrize(("override", "place", "choice"), [
    ("optim.lrr=1", "optim.lrr", "weight_decay"),
    ("nope=1", "'nope'", "backbone"),
    ("backbone=resnet9000", "resnet9000", "cbam_tiny"),
    ("recipe=magic", "magic", "lp_ft"),
    ("backbone.widths=3", "backbone.widths", "options"),
    ("train_on=lfw+elsewhere", "elsewhere", "mlfw"),
    ("train.augment=strongest", "train.augment", "seed2021"),
    ("optim.lr=-1", "optim.lr", "greater than 0"),
    ("optim=3", "optim", "dictionary"),
    ("recipe.phases=[]", "recipe.phases", "at least 1"),
    ("evaluate_on=[lfv/eval]", "lfv", "lfw"),
    ("loss.class_weights=[1,2]", "class_weights", "3 classes"),
])
def test_a_mistake_names_the_file_the_key_and_the_choices(
    override: str, place: str, choice: str
) -> None:
    with pytest.raises(CallerError) as caught:
        load_run(DRAWN, parse_overrides([override]))
    message = str(caught.value)
    assert "drawn.yaml" in message and place in message and choice in message
    assert "\n" not in message


def test_a_typo_is_answered_with_the_key_that_was_meant() -> None:
    with pytest.raises(CallerError, match="did you mean 'weight_decay'"):
        load_run(DRAWN, {"optim.weigth_decay": 0.1})


def test_a_yaml_mistake_names_the_file_and_the_line(tmp_path: Path) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text("backbone: cbam_tiny\noptim: {lr: 1\ntrain: {}\n")
    with pytest.raises(CallerError, match=r"broken\.yaml, line 3"):
        load_run(file)


def test_a_key_written_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "twice.yaml"
    file.write_text("seed: 1\nseed: 2\n")
    with pytest.raises(CallerError, match="duplicate key 'seed'"):
        load_run(file)


def test_a_missing_file_is_answered_with_those_that_are_there() -> None:
    with pytest.raises(CallerError, match=r"drawn\.yaml"):
        load_run("configs/drown.yaml")


def test_base_files_that_form_a_loop_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("base: b.yaml\n")
    (tmp_path / "b.yaml").write_text("base: a.yaml\n")
    with pytest.raises(CallerError, match="loop"):
        load_run(tmp_path / "a.yaml")


@pytest.mark.parametrize(("text", "value"), [
    ("1e-4", 1e-4), ("on", "on"), ("true", True), ("3", 3), ("[a, 2]", ["a", 2]), ("2.5", 2.5),
])
def test_yaml_values_are_read_as_one_means_them(text: str, value: object) -> None:
    assert parse_yaml(text, "here") == value


def test_an_override_without_an_equals_sign_is_refused() -> None:
    with pytest.raises(CallerError, match="key=value"):
        parse_overrides(["optim.lr"])


@pytest.mark.parametrize("recipe", block_names("recipe"))
@pytest.mark.parametrize("backbone", block_names("backbone"))
def test_every_backbone_and_recipe_that_ships_resolves(backbone: str, recipe: str) -> None:
    train_on = "mlfw"
    config = load_run(DRAWN, {"backbone": backbone, "recipe": recipe, "train_on": train_on})
    assert (config.backbone.name, config.recipe.name) == (backbone, recipe)


def test_the_resolved_yaml_gives_the_same_configuration_again(tmp_path: Path) -> None:
    config = load_run(DRAWN, {"recipe": "lp_ft", "optim.lr": 0.0123})
    file = tmp_path / "resolved.yaml"
    file.write_text(yaml.safe_dump(dump(config)))
    assert load_run(file) == config


def test_an_override_inside_a_block_applies_to_the_block_of_that_name() -> None:
    config = load_run(DRAWN, {"backbone.input_size": 32, "backbone": "cbam_tiny"})
    assert (config.backbone.name, config.backbone.input_size) == ("cbam_tiny", 32)


def test_the_2021_preset_is_that_of_the_study() -> None:
    config = load_run("configs/study2021.yaml")
    optim, schedule, train = config.optim, config.schedule, config.train
    assert (optim.name, optim.lr, optim.weight_decay, optim.betas) == (
        "radam", 1e-4, 1e-3, (0.9, 0.999))
    assert (schedule.name, schedule.factor, schedule.patience, schedule.min_lr) == (
        "plateau", 0.1, 2, 1e-6)
    assert (train.batch_size, train.epochs, train.early_stop, train.augment) == (
        48, 50, 8, "seed2021")
    assert (train.select, train.score, train.best_over) == ("best", "accuracy", "all_phases")
    assert (config.backbone.mean, config.backbone.std) == ((0, 0, 0), (1, 1, 1))
    assert config.seed == 1234 and config.loss.class_weights == "none"


@pytest.mark.parametrize(("override", "message"), [
    ({"grid.seed": []}, "no values"),
    ({"grid.seed": [1, 1]}, "twice"),
    ({"evaluate_on": ["lfw"]}, "evaluate_on"),
    ({"resources.gpu": 1}, "gpus"),
])
def test_a_mistake_in_a_study_is_one_line(override: dict[str, object], message: str) -> None:
    with pytest.raises(CallerError, match=message):
        load_study("sweeps/demo.yaml", override)


def test_editor_schemas_are_written_by_a_command_and_know_the_names(tmp_path: Path) -> None:
    done = launch("schemas", tmp_path)
    assert done.returncode == 0, done.stderr
    run = json.loads((tmp_path / "run.json").read_text())
    assert "lp_ft" in run["properties"]["recipe"]["anyOf"][0]["enum"]
    assert {path.name for path in tmp_path.iterdir()} == set(editor_schemas())


def test_the_schema_of_runs_knows_every_key() -> None:
    known = set(editor_schemas()["run.json"]["properties"])
    assert known == {f.alias or n for n, f in RunConfig.model_fields.items()} | {"base"}


SHIPPED = sorted(REPOSITORY.glob("sweeps/**/*.yaml"))
SEARCHES = [file for file in SHIPPED if file.parent.name == "searches" or "-search" in file.name]


@pytest.mark.parametrize("file", [one for one in SHIPPED if one not in SEARCHES],
                         ids=lambda p: p.name)
def test_every_study_that_ships_is_valid(file: Path) -> None:
    assert load_study(file).study == file.stem


@pytest.mark.parametrize("file", SEARCHES, ids=lambda p: p.name)
def test_every_search_that_ships_is_valid_and_draws_what_can_be_trained(file: Path) -> None:
    search = load_search(file)
    assert search.search == file.stem
    configs, epochs = TrialFactory(search, InputDigests(file, file)).checked()
    assert len(configs) > 10 and epochs > 1
    if "-" in file.stem and file.parent.name == "searches":
        assert {f"{one.backbone.name}-{one.recipe.name}" for one in configs} == {file.stem}


def test_there_is_a_search_for_each_backbone_and_recipe_of_the_2021_study() -> None:
    found = {file.stem for file in SEARCHES if file.parent.name == "searches"} - {"2021"}
    assert found == {f"{backbone}-{recipe}" for recipe in load_study("sweeps/paper.yaml").grid[
        "recipe"] for backbone in ("resmasking_dropout1", "cbam_resnet50")}


def test_the_sets_that_a_run_needs_are_its_parents_too():
    config = load_run(DRAWN, {
        "recipe": "lfw_then_target", "train_on": "mlfw", "evaluate_on": ["real/test"],
        "recipe.init.set": {"train_on": "many", "recipe": "scratch"}})
    assert config.needed_sets == {"mlfw", "many", "real"}


@pytest.mark.parametrize("value", [
    "44e7700000", "1234567890", "0123456789", "1e5", "-.5", "1_0", ".inf", "yes", "null", "0x1f",
    "12:30:45", "a: b", 1e-5, 5e-3, 1e22, 3, True, None, "2e6"])
def test_what_is_written_is_read_as_what_it_was(value: object, tmp_path: Path) -> None:
    content = {"id": value, "many": [value]}
    write_yaml(tmp_path / "config.yaml", content)
    found = read_tree(tmp_path / "config.yaml")
    assert found == content and type(found["id"]) is type(value)

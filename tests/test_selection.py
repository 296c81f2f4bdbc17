"""Which weights a run keeps, and on which pictures it is validated."""

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from conftest import TOY
from safetensors.torch import load_file
from test_training import epochs, trained

from fer.config.load import apply, dump, load_run, read_based, resolve
from fer.config.run import Inputs, RunConfig
from fer.config.run_id import run_id
from fer.config.selection import few_people_warning, of_store, select_of, uar_noise
from fer.config.validate import validate
from fer.data.masks.styles import named
from fer.errors import CallerError
from fer.report.read.provenance import provenance
from fer.report.read.report_cache import ReportCache
from fer.search.scores import Score
from fer.study.changed_inputs import folders_by_label, why_again
from fer.study.expand import identify
from fer.study.inputs import InputDigests
from fer.study.run_folder import Store
from fer.train.checkpoint import Checkpoints
from fer.train.early_stopping import end_epoch
from fer.train.optim import learning_rate
from fer.train.setup import evaluated_source, training_source
from fer.train.train_state import Plateau, Progress

INPUTS = Inputs(digests={"lfw/train": "a" * 32}, parents={})
MASKS = {"probability": 0.5, "template": "drawn"}
PLATEAU, CONSTANT = {"schedule.name": "plateau"}, {"schedule.name": "constant"}
COOLED = {"schedule": {"name": "constant", "cooldown_epochs": 2, "warmup_epochs": 0}}


def config(file: str = "configs/drawn.yaml", **overrides: Any) -> RunConfig:
    return load_run(file, {key.replace("__", "."): value for key, value in overrides.items()})


@pytest.mark.parametrize(("settings", "kept"), [
    ({}, "last"), (COOLED, "last"), (CONSTANT, "best"), (PLATEAU, "best"),
    ({"train.select": "best"}, "best"), ({**PLATEAU, "train.select": "last"}, "last"),
    ({"recipe": "lp_ft"}, "last"), ({"recipe": "lp_ft", **PLATEAU}, "best"),
    ({"recipe": "ema", **PLATEAU}, "last"), ({"recipe": "swa"}, "last"),
    ({"recipe": "wise_ft"}, "best"),
])
def test_a_schedule_that_ends_is_selected_by_its_end(settings: dict[str, Any], kept: str) -> None:
    assert select_of(load_run("configs/drawn.yaml", settings)) == kept


@pytest.mark.parametrize("base", ["base", "drawn", "laptop"])
def test_every_shipped_configuration_of_a_start_is_trained_to_the_end(base: str) -> None:
    found = load_run(f"configs/{base}.yaml")
    assert found.train.select == "last" and found.train.early_stop is None


SCORES = [0.5, 0.9, 0.6, 0.4, 0.7, 0.7]


@pytest.mark.parametrize(("settings", "epoch"), [
    ({"train.select": "last"}, 6), ({"train.select": "average"}, 6),
    ({"train.select": "best"}, 5), ({"train.select": "best", "train.best_over": "all_phases"}, 2),
])
def test_the_best_epoch_is_one_of_the_last_phase_unless_asked_for(
    settings: dict[str, Any], epoch: int
) -> None:
    """The probe has the highest score."""
    phases = [{"name": "probe", "train": ["head"], "epochs": 3}, {"name": "all", "epochs": 3}]
    run = load_run("configs/drawn.yaml", {**settings, "recipe": "lp_ft", "recipe.phases": phases})
    progress = Progress()
    for score in SCORES:
        progress.step += 10
        end_epoch(run, progress, score)
    assert progress.finished and (progress.best.epoch, progress.best.step) == (epoch, 10 * epoch)
    assert progress.best.score == SCORES[epoch - 1]


def test_a_run_ships_the_weights_of_its_last_epoch(places: Path) -> None:
    folder = trained(("lfw/eval",), train__epochs=3)
    facts = json.loads((folder.path / "train.json").read_text())
    assert facts["kept"] == "last" and facts["best_epoch"] == facts["epochs"] == 3
    assert facts["best_score"] == epochs(folder)[-1]["val_uar"]
    assert len(list(folder.path.glob("checkpoints/step-*"))) == 1


def test_the_average_is_the_mean_of_the_last_epochs_weights(places: Path) -> None:
    """Each epoch's weights come from runs that are the same up to there."""
    folder = trained(train__epochs=4, train__select="average", train__average_epochs=2,
                     keep__checkpoints=4, **{"schedule": {"name": "constant"}})
    ends = [trained(train__epochs=n, train__select="last", **{"schedule": {"name": "constant"}})
            for n in (3, 4)]
    mine, third, fourth = (load_file(Checkpoints(one.path / "checkpoints", 2).best()
                                     / "model.safetensors") for one in (folder, *ends))
    for key, tensor in mine.items():
        if tensor.is_floating_point() and "running" not in key:
            assert torch.allclose(tensor, (third[key] + fourth[key]) / 2, atol=1e-6), key


@pytest.mark.parametrize("settings", [
    {}, {"recipe": "lp_ft"}, COOLED, {"train.select": "average"},
    {**PLATEAU, "train.select": "average"},
])
def test_early_stopping_and_a_schedule_that_ends_exclude_each_other(settings: dict[str, Any]
                                                                    ) -> None:
    with pytest.raises(CallerError, match=r"early_stop: 3 would cut the .* short") as refusal:
        load_run("configs/drawn.yaml", {**settings, "train.early_stop": 3})
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("settings", [PLATEAU, CONSTANT, {"train.select": "best"},
                                      {"train.select": "uar"}])
def test_early_stopping_is_allowed_where_the_best_epoch_is_kept(settings: dict[str, Any]) -> None:
    assert load_run("configs/drawn.yaml", {**settings, "train.early_stop": 3}).train.early_stop == 3


def test_a_phases_own_early_stopping_is_refused_too() -> None:
    phases = [{"name": "p", "train": ["head"], "epochs": 3, "early_stop": 1}, {"name": "all"}]
    with pytest.raises(CallerError, match="phase 'p'"):
        load_run("configs/drawn.yaml", {"recipe": "lp_ft", "recipe.phases": phases})


def test_a_constant_rate_cools_down_to_its_end() -> None:
    schedule = load_run("configs/drawn.yaml", COOLED).schedule
    rates = [learning_rate(schedule, 1.0, Plateau(), step, 40, 10) for step in range(40)]
    assert rates[:20] == [1.0] * 20 and rates[20] == 1.0
    assert np.allclose(np.diff(rates[20:]), -1 / 20) and rates[-1] == pytest.approx(1 / 20)


# --- run ids: what says the same keeps its id, what means another thing gets another


def before(tree: dict[str, Any], score: str) -> dict[str, Any]:
    """Return a stored configuration as it was written before `train.select` had its new values."""
    train = {key: value for key, value in tree["train"].items()
             if key not in ("score", "best_over", "average_epochs")}
    parents = {role: before(parent, score) for role, parent in tree["parents"].items()}
    return {**tree, "train": {**train, "select": score}, "parents": parents}


@pytest.mark.parametrize("recipe", ["scratch", "lp_ft", "lfw_then_target"])
def test_a_stored_configuration_means_what_it_meant(recipe: str) -> None:
    old = load_run("configs/drawn.yaml", {"recipe": recipe, "train.select": "best",
                                          "train_on": "mlfw", "train.best_over": "all_phases"})
    read = validate(RunConfig, of_store(before(dump(old), "uar")), "config.yaml")
    assert read.train == old.train and run_id(read, INPUTS) == run_id(old, INPUTS)
    assert all(one.train.best_over == "all_phases" for one in read.parents.values())


@pytest.mark.parametrize("parents", [{"": []}, {"": None}, {"a": "x"}, {"a": {"parents": {"b": 1}}},
                                     [], "x", None, 7])
def test_parents_that_are_no_configurations_are_one_line(parents: object) -> None:
    with pytest.raises(CallerError, match=r"config\.yaml"):
        validate(RunConfig, of_store({**dump(config()), "parents": parents}), "config.yaml")


def test_a_stored_configuration_with_masks_was_validated_without() -> None:
    tree = dump(config(train__masks=MASKS))
    del tree["train"]["masks"]["on_validation"]
    old = validate(RunConfig, of_store(tree), "config.yaml")
    assert old.train.masks is not None and not old.train.masks.on_validation
    assert run_id(old, INPUTS) != run_id(config(train__masks=MASKS), INPUTS)


def test_the_old_spelling_in_a_users_file_still_asks_for_the_best_epoch(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("base: configs/study2021.yaml\ntrain: {select: loss, early_stop: 4}\n")
    found = load_run(file).train
    assert (found.select, found.score, found.early_stop) == ("best", "loss", 4)
    later = load_run(file, {"train.score": "uar"}).train
    assert (later.select, later.score) == ("best", "uar")
    assert load_run(file, {"train": {"select": "macro_f1"}}).train.score == "macro_f1"


def test_ids_of_2021_and_of_single_phases_by_the_best_epoch_are_those_of_before() -> None:
    """Recorded before `train.select` had its new values (commit 0c1c714)."""
    digests = Inputs(digests={"a/train": "1"}, parents={})
    for file, recipe, known in (("study2021", "lp_ft", LP_FT), ("study2021", "scratch", SCRATCH)):
        found = load_run(f"configs/{file}.yaml", {"recipe": recipe, "train_on": "mlfw"})
        assert run_id(found, digests) == known
    best = config(train__select="best", train_on="mlfw")
    assert run_id(best, digests) == DRAWN != run_id(config(train_on="mlfw"), digests)


LP_FT, SCRATCH, DRAWN = "a2f9c41fea", "48b12c84e4", "c28cac8f2f"


def test_each_rule_has_its_own_id() -> None:
    rules = [{"train__select": "last"}, {"train__select": "average"}, {"train__select": "best"},
             {"train__select": "best", "train__best_over": "all_phases"},
             {"train__select": "average", "train__average_epochs": 3}]
    assert len({run_id(config(recipe="lp_ft", **rule), INPUTS) for rule in rules}) == len(rules)


def test_what_is_not_used_changes_no_id() -> None:
    last = config(recipe="lp_ft")
    for key, value in (("average_epochs", 9), ("best_over", "all_phases")):
        assert run_id(config(recipe="lp_ft", **{f"train__{key}": value}), INPUTS) == run_id(
            last, INPUTS)


@pytest.mark.parametrize(("settings", "words"), [
    ({"train.select": "best"}, "it keeps those of the best epoch of the last phase by uar and "
                               "this one those of the last epoch"),
    ({"train.select": "best", "train.early_stop": 9}, "train.early_stop is None, not 9"),
    ({"train.masks": {**MASKS, "on_validation": False}}, "validated without the masks"),
])
def test_a_dry_run_says_why_a_finished_run_is_trained_again(
    settings: dict[str, Any], words: str, tmp_path: Path
) -> None:
    masks = {"train.masks": MASKS} if "train.masks" in settings else {}
    contents = InputDigests(tmp_path, tmp_path)
    (old,), (new,) = (identify(load_run("configs/drawn.yaml", one), lambda _: {"lfw/train": "1"})
                      for one in (settings, masks))
    store = Store(tmp_path)
    folder = store.folder(old)
    folder.register(old, {})
    (folder.path / "train.json").write_text("{}")
    assert words in why_again(new, folders_by_label(store), contents)
    stored = yaml.safe_load((folder.path / "config.yaml").read_text())
    assert stored["recipe"].pop("label")  # runs of before have none
    (folder.path / "config.yaml").write_text(yaml.safe_dump(stored))
    assert words in why_again(new, folders_by_label(store), contents)
    (other,) = identify(load_run("configs/drawn.yaml", {"optim.lr": 0.5, **masks}),
                        lambda _: {"lfw/train": "1"})
    assert "optim.lr is 0.5" in why_again(other, folders_by_label(store), contents)
    (apart,) = identify(load_run("configs/drawn.yaml", {**settings, "optim.lr": 0.5}),
                        lambda _: {"lfw/train": "1"})
    assert not why_again(apart, folders_by_label(store), contents)  # another cell of a grid


# --- few people, searches, masks on validation


def test_few_people_are_named_with_the_noise_of_their_score() -> None:
    assert uar_noise(9) == pytest.approx(0.144, abs=1e-3)
    said = few_people_warning(config(train__select="best"), 9)
    assert "9 people" in said and "14 points" in said
    assert "1 person," in few_people_warning(config(train__select="best"), 1)
    assert not few_people_warning(config(), 9)  # the last epoch is not selected by anybody
    assert not few_people_warning(config(train__select="best"), 300)


def test_a_run_notes_that_its_best_epoch_is_of_few_people(places: Path) -> None:
    folder = trained(train__select="best")
    assert any("3 people" in note for note in folder.status().notes)
    assert "3 people" in (folder.path / "logs/train.log").read_text()
    env = json.loads((folder.path / "env.json").read_text())
    assert env["validation_people"] == 3 and "best epoch" in env["kept"]
    run: Any = SimpleNamespace(folder=folder.path, train_on="lfw", backbone="b", recipe="r",
                               config_id="1")
    found = provenance([run], ReportCache(places))
    assert found.selection == ("those of the best epoch of the last phase by uar, validated on "
                               "9 pictures of 3 people of lfw",)
    assert found.few_people[0].startswith("in 1 run, the best epoch was selected on validation "
                                          "with 3 people, where UAR has a standard error of")


@pytest.mark.parametrize(("score", "expected"), [
    (Score("uar", ""), [0.3, 0.9, 0.5]), (Score("uar", "uar"), [0.3, 0.9, 0.9]),
    (Score("uar", "uar", in_phase=True), [0.3, 0.9, 0.5]),
])
def test_a_trials_score_is_that_of_the_weights_it_would_keep(score: Score, expected: list[float]
                                                             ) -> None:
    lines = [{"val_uar": 0.3, "phase": "a"}, {"val_uar": 0.9, "phase": "a"},
             {"val_uar": 0.5, "phase": "b"}]
    assert [score.after(line) for line in lines] == expected


def test_validation_shows_the_masks_of_training_in_one_draw_for_all_runs(places: Path) -> None:
    folder, other = (trained(train__masks=MASKS, train__epochs=1, seed=seed) for seed in (0, 5))
    from fer.train.distributed import open_session

    with open_session(folder.config.compute) as session:
        one, two = (training_source(run.config, "val", session) for run in (folder, other))
        plain = training_source(
            folder.config.model_copy(update={"train": folder.config.train.model_copy(
                update={"masks": None})}), "val", session)
    every = np.arange(one.n)
    drawn, again, bare = (source.gather(every) for source in (one, two, plain))
    assert torch.equal(drawn, again) and torch.equal(drawn[3:5], one.gather(every[3:5]))
    changed = (drawn != bare).flatten(1).any(1).numpy()
    assert abs(changed.sum() - one.n / 2) <= 1 and one.masked == changed.sum()
    for label in set(one.labels_of(every)):
        share = changed[one.labels_of(every) == label]
        assert abs(share.sum() - len(share) / 2) <= 1
    env = json.loads((folder.path / "env.json").read_text())
    assert env["validation_masks"].startswith("masks drawn on")
    assert env["validation_drawn"] == one.drawn
    digest = folder.config.inputs.digests["lfw/val"]
    with open_session(folder.config.compute) as session:  # evaluated on it, it sees the same
        seen = evaluated_source(folder.config, folder.config.data, "lfw/val", digest, session)
        assert torch.equal(seen.gather(every), drawn)
        moved = folder.config.model_copy(update={"train_on": "mlfw"})
        plain = evaluated_source(moved, moved.data, "lfw/val", digest, session)
        assert torch.equal(plain.gather(every), bare)


@pytest.mark.parametrize("probability", [0.1, 0.3, 0.5, 1.0])
def test_the_styles_of_masks_on_validation_are_equally_frequent(probability: float) -> None:
    from fer.config.augmentation import Masks
    from fer.data.masks.atlas import PER_STYLE, MaskAugmentation, make_atlas
    from fer.data.masks.fixed_masks import fixed_draw

    class People:
        n = 271

        def uids_of(self, indices: np.ndarray) -> np.ndarray:
            return indices.astype(np.uint64) * np.uint64(7919)

        def labels_of(self, indices: np.ndarray) -> np.ndarray:
            return (indices % 9 > 5).astype(np.int64)

    masks = Masks(styles=("surgical", "cloth", "flat"))
    atlas = make_atlas(named(masks.styles), "drawn", 32)
    wearers, choice = fixed_draw(People(), MaskAugmentation(atlas, probability), 1)  # type: ignore
    assert abs(len(wearers) - probability * 271) <= 1 and (np.diff(wearers) > 0).all()
    counts = Counter((choice.entry // PER_STYLE).tolist())
    assert len(counts) == 3 and max(counts.values()) - min(counts.values()) <= 1
    assert len(set((choice.entry % PER_STYLE).tolist())) > 5
    other, _ = fixed_draw(People(), MaskAugmentation(atlas, probability), 2)  # type: ignore
    assert probability == 1 or not np.array_equal(wearers, other)


def test_consistency_with_masks_on_the_fly_ships_no_probe(places: Path) -> None:
    folder = trained(("lfw/eval",), recipe="consistency", train_on="lfw", train__masks=MASKS,
                     train__epochs=2, train__select="best")
    facts = json.loads((folder.path / "train.json").read_text())
    phases = {line["epoch"] + 1: line["phase"] for line in epochs(folder)}
    assert phases[facts["best_epoch"]] == "finetune"


def test_a_tree_that_is_resolved_twice_says_the_same() -> None:
    tree = apply(read_based(Path("configs/drawn.yaml").resolve()), TOY, "x")
    once = resolve(tree, "x")
    assert resolve(dump(once), "x") == once


# --- defaults by starting point, and the recommended recipe

SCRATCH_START, PRETRAINED_START = (2e-3, 75, 5), (3e-4, 50, 1)


@pytest.mark.parametrize(("settings", "expected"), [
    ({}, SCRATCH_START), ({"recipe": "linear_probe"}, (3e-3, 50, 1)),
    ({"recipe": "lp_ft"}, PRETRAINED_START),
    ({"recipe": "lfw_then_target"}, PRETRAINED_START), ({"recipe": "soup"}, PRETRAINED_START),
    ({"recipe": "lp_ft", "recipe.init.source": "scratch"}, SCRATCH_START),
    ({"recipe": "scratch", "optim.lr": 0.1, "train.epochs": 3}, (0.1, 3, 5)),
])
def test_defaults_depend_on_where_a_run_starts(settings: dict[str, Any],
                                               expected: tuple[float, int, int]) -> None:
    found = load_run("configs/base.yaml", {"train_on": "mlfw", **settings})
    assert (found.optim.lr, found.train.epochs, found.schedule.warmup_epochs) == expected


def test_a_parent_has_the_defaults_of_its_own_start() -> None:
    found = load_run("configs/base.yaml", {"recipe": "lfw_then_target", "train_on": "mlfw"})
    assert found.parents["init"].optim.lr == 2e-3 and found.optim.lr == 3e-4


def test_what_a_file_says_is_above_the_defaults_of_recipe_and_start() -> None:
    small = load_run("configs/drawn.yaml", {"recipe": "recommended"})
    assert (small.optim.lr, small.train.epochs, small.schedule.warmup_epochs) == (5e-3, 12, 1)
    assert small.train.masks is not None and small.train.masks.styles == ("all", "flat")
    without = load_run("configs/base.yaml", {"recipe": "recommended", "train.masks": None,
                                             "train_on": "mlfw"})
    assert without.train.masks is None and without.train.epochs == 75


@pytest.mark.parametrize("source", ["scratch", "pretrained"])
def test_the_recommended_recipe_learns_masked_faces(source: str, places: Path) -> None:
    folder = trained(("mlfw/eval",), recipe="recommended", train_on="lfw", train__epochs=8,
                     train__augment="none", recipe__init__source=source,
                     train__masks__template="drawn", train__masks__styles=["flat"])
    assert json.loads(folder.result("mlfw/eval").read_text())["uar"] > 0.5
    assert epochs(folder)[-1]["val_uar"] > 0.5
    assert json.loads((folder.path / "train.json").read_text())["kept"] == "last"


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["lp_ft", "joint", "consistency", "distill"])
def test_a_recipe_with_masks_on_the_fly_is_above_chance_on_masked_faces(recipe: str, places: Path
                                                                         ) -> None:
    folder = trained(("mlfw/eval",), recipe=recipe, train_on="lfw", train__epochs=6,
                     train__augment="none", train__masks={**MASKS, "styles": ["flat"]})
    assert json.loads(folder.result("mlfw/eval").read_text())["uar"] > 0.5  # chance: 0.33
    assert epochs(folder)[-1]["phase"] == "finetune"

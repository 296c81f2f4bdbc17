"""Expanding and planning a study: pure functions, tested as such."""

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer.config.load import load_run, load_study
from fer.config.run import RunConfig
from fer.config.study import Gap
from fer.errors import CallerError
from fer.study.expand import Run, cells, expand, idle_exclusions, parents_first, unmeasured_gaps
from fer.study.plan import RunState, plan

CONFIG = load_run("configs/drawn.yaml")


def fake_digests(config: RunConfig) -> dict[str, str]:
    """Digests without data: a function of the names of the splits."""
    return {f"{name}/{part}": f"{name}-{part}" for name in config.train_sets
            for part in ("train", "val")}


@st.composite
def graphs(draw: st.DrawFn) -> list[Run]:
    """Runs with random parents among the earlier ones."""
    runs: list[Run] = []
    for number in range(draw(st.integers(1, 8))):
        known = [run.id for run in runs]
        parents = draw(st.sets(st.sampled_from(known), max_size=2)) if known else set()
        runs.append(Run(CONFIG, f"r{number}", "c", tuple(sorted(parents))))
    return runs


STATES = st.builds(RunState, trained=st.booleans(), failed=st.booleans(), held=st.booleans(),
                   missing=st.sampled_from([(), ("lfw/eval",)]))


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[Run], dict[str, RunState]]:
    runs = draw(graphs())
    return runs, {run.id: draw(STATES) for run in runs}


@given(situations())
def test_a_run_never_starts_before_its_parents_are_trained(
    situation: tuple[list[Run], dict[str, RunState]]
) -> None:
    runs, on_disk = situation
    for step in plan(runs, on_disk):
        if step.action == "train":
            assert all(on_disk[parent].trained for parent in step.run.parents)


@given(situations())
def test_a_trained_run_is_never_trained_again(
    situation: tuple[list[Run], dict[str, RunState]]
) -> None:
    runs, on_disk = situation
    assert not [s for s in plan(runs, on_disk) if s.action == "train" and on_disk[s.run.id].trained]


@given(situations())
def test_children_of_a_failed_parent_are_blocked(
    situation: tuple[list[Run], dict[str, RunState]]
) -> None:
    runs, on_disk = situation
    actions = {step.run.id: step.action for step in plan(runs, on_disk)}
    for run in runs:
        if actions[run.id] in ("train", "wait"):
            untrained = [parent for parent in run.parents if not on_disk[parent].trained]
            assert not {"failed", "blocked"} & {actions[parent] for parent in untrained}


@given(graphs())
@settings(max_examples=50)
def test_carrying_out_the_plan_again_and_again_ends_with_everything_done(runs: list[Run]) -> None:
    on_disk = {run.id: RunState(missing=("lfw/eval",)) for run in runs}
    for _ in runs:
        for step in plan(runs, on_disk):
            if step.action == "train":
                on_disk[step.run.id] = RunState(trained=True)
    assert {step.action for step in plan(runs, on_disk)} == {"done"}


@given(graphs(), st.randoms())
def test_parents_come_first_whatever_the_order_given(
    runs: list[Run], chance: random.Random
) -> None:
    shuffled = list(runs)
    chance.shuffle(shuffled)
    seen: set[str] = set()
    for run in parents_first(shuffled):
        assert seen.issuperset(run.parents)
        seen.add(run.id)


def test_a_run_that_another_process_holds_is_left_alone() -> None:
    (step,) = plan([Run(CONFIG, "a", "c")], {"a": RunState(held=True)})
    assert step.action == "running"


def names(runs: Sequence[Run]) -> list[str]:
    return [run.name.rsplit("-", 1)[0] for run in runs]


def test_the_demo_has_twelve_runs_and_one_shared_parent_a_backbone() -> None:
    runs = expand(load_study("sweeps/demo.yaml"), fake_digests)
    parents = [run for run in runs if not run.wanted]
    assert len(runs) - len(parents) == 12
    assert names(parents) == [f"{b}_tiny-scratch-people-s0" for b in ("resmasking", "cbam")]


def test_the_parent_is_shared_whatever_the_study_sets_for_its_own_runs() -> None:
    def parents(**override: object) -> set[str]:
        study = load_study("sweeps/demo.yaml", {k.replace("__", "."): v
                                                for k, v in override.items()})
        return {run.id for run in expand(study, fake_digests) if not run.wanted}

    assert parents() == parents(optim__lr=0.5, train__epochs=2, grid__seed=[7])


def test_the_2021_grid_has_its_backbones_recipes_sets_and_five_seeds() -> None:
    study = load_study("sweeps/paper.yaml")
    assert len(cells(study)) == 4 * (5 * 3 - 1) * 5
    assert {"resmasking_dropout1", "cbam_resnet50", "vgg19", "mobilenet_w1"} == set(
        study.grid["backbone"])


def test_excluding_everything_is_an_empty_grid() -> None:
    study = load_study("sweeps/demo.yaml", {"exclude": [{"recipe": "scratch"}],
                                            "grid.recipe": ["scratch"]})
    with pytest.raises(CallerError, match="grid is empty"):
        expand(study, fake_digests)


def test_a_list_in_an_exclusion_is_any_of_its_values() -> None:
    study = load_study("sweeps/paper.yaml", {"exclude": [
        {"recipe": ["scratch", "lp_ft"], "train_on": ["lfw", "mlfw"]}]})
    left = {(cell["recipe"], cell["train_on"]) for cell in cells(study)}
    assert len(left) == 5 * 3 - 4
    assert {pair for pair in left if pair[0] in ("scratch", "lp_ft")} == {
        ("scratch", "lfw+mlfw"), ("lp_ft", "lfw+mlfw")}


def test_two_grid_values_of_one_name_are_refused() -> None:
    study = load_study("sweeps/demo.yaml").model_copy(update={"exclude": [], "grid": {"recipe": [
        {"name": "mine", "phases": [{"name": "all", "lr": lr}]} for lr in (0.1, 0.2)]}})
    with pytest.raises(CallerError, match=r"grid.recipe: two values are named 'mine'"):
        cells(study)


def test_excluding_by_a_key_that_is_no_grid_key_is_refused() -> None:
    study = load_study("sweeps/demo.yaml", {"exclude": [{"optim.lr": 1}]})
    with pytest.raises(CallerError, match=r"optim\.lr"):
        expand(study, fake_digests)


def test_an_exclusion_with_a_slip_in_a_value_is_said() -> None:
    said = idle_exclusions(load_study("sweeps/demo.yaml", {"exclude": [
        {"train_on": "mlwf"}, {"train_on": ["mlwf", "mlfw"], "seed": 0}]}))
    assert said == ["exclude: 'train_on' is never 'mlwf' in this grid, so that line has no "
                    "effect"]
    assert not idle_exclusions(load_study("sweeps/close_the_gap_drawn.yaml"))


def test_a_set_of_the_gap_that_is_not_evaluated_is_said() -> None:
    study = load_study("sweeps/demo.yaml")
    assert not unmeasured_gaps(study)
    real = study.model_copy(update={"gap": Gap(synthetic="mlfw/eval",
                                               real=["real/test", "real/tset"])})
    assert unmeasured_gaps(real) == ["gap.real: real/tset is not in evaluate_on, so the report has "
                                     "no gap on real/tset"]
    narrowed = load_study("sweeps/demo.yaml", {"evaluate_on": ["real/test"]})
    assert unmeasured_gaps(narrowed) == ["gap.synthetic: mlfw/eval is not in evaluate_on, so the "
                                         "report has no gap"]


def test_two_cells_that_are_the_same_run_are_refused_with_both_named(tmp_path: Path) -> None:
    study = load_study("sweeps/demo.yaml", {"grid.keep.every_minutes": [1, 2]})
    with pytest.raises(CallerError, match=r"every_minutes=2.*every_minutes=1"):
        expand(study, fake_digests)


def test_every_shipped_recipe_in_the_paper_grid_names_its_place_when_wrong() -> None:
    study = load_study("sweeps/paper.yaml", {"optim.lrr": 1})
    with pytest.raises(CallerError, match=r"study 'paper' \(backbone=resmasking_dropout1"):
        expand(study, fake_digests)

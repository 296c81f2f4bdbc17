"""The run id: what determines the numbers changes it, nothing else does."""

import subprocess
import sys
from typing import Annotated, Any

import pytest
from conftest import REPOSITORY
from pydantic import BaseModel

from fer.config import run_id as identity
from fer.config.base import Frozen, Label, Neutral
from fer.config.load import dump, load_run
from fer.config.run import Inputs, RunConfig
from fer.config.run_id import config_id, run_id, scientific
from fer.study.expand import identify

INPUTS = Inputs(digests={"lfw/train": "a" * 32, "lfw/val": "b" * 32}, parents={"init": "c" * 10})


def config(**overrides: Any) -> RunConfig:
    return load_run("configs/drawn.yaml",
                    {"recipe": "lp_ft", "train.select": "best", **overrides})


BASE = run_id(config(), INPUTS)


def reordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(list(value))}
    return value


def test_the_order_of_keys_keeps_the_id() -> None:
    tree = reordered(dump(config()))
    assert run_id(RunConfig.model_validate(tree), INPUTS) == BASE


@pytest.mark.parametrize("override", [
    {"name": "mine"}, {"backbone.name": "renamed"}, {"recipe.name": "renamed"},
    {"keep.every_minutes": 3}, {"keep.tensorboard": False}, {"keep.checkpoints": 5},
    {"evaluate_on": ["real/test"]}, {"data.sets.lfw.folder": "/elsewhere"},
    {"data.sets.more.folder": "more"}, {"compute.device": "cuda"},
])
def test_names_folders_workers_and_test_sets_keep_the_id(override: dict[str, Any]) -> None:
    assert run_id(config(**override), INPUTS) == BASE


@pytest.mark.parametrize("override", [
    {"seed": 1}, {"backbone": "cbam_tiny"}, {"backbone.input_size": 64},
    {"backbone.options": {"dropout": 0.1}}, {"backbone.mean": [0, 0, 0.1]}, {"recipe": "scratch"},
    {"train_on": "mlfw"}, {"optim.lr": 0.1}, {"optim.name": "sgd"}, {"optim.weight_decay": 0.3},
    {"optim.betas": [0.8, 0.9]}, {"optim.momentum": 0.5}, {"optim.clip_norm": 2.0},
    {"optim.decay_norms_and_biases": True}, {"schedule.name": "plateau"},
    {"schedule.warmup_epochs": 2}, {"schedule.factor": 0.3}, {"schedule.patience": 4},
    {"schedule.min_lr": 1e-6}, {"loss.class_weights": "none"}, {"loss.label_smoothing": 0.2},
    {"train.epochs": 3}, {"train.batch_size": 12}, {"train.micro_batch": 4},
    {"train.augment": "none"}, {"train.select": "accuracy"}, {"train.early_stop": 3},
    {"train.score": "loss"}, {"train.select": "last"}, {"train.select": "average"},
    {"train.best_over": "all_phases"}, {"schedule": {"name": "constant", "cooldown_epochs": 2}},
    {"compute.threads": 2}, {"compute.precision": "bf16"}, {"compute.channels_last": False},
    {"compute.compile": True}, {"compute.batch_norm": "local"}, {"data.val_fraction": 0.2},
    {"data.val_seed": 1}, {"data.classes": ["neutral", "negative", "positive"]},
])
def test_every_scientific_field_changes_the_id(override: dict[str, Any]) -> None:
    assert run_id(config(**override), INPUTS) != BASE


def test_each_field_is_either_named_in_these_tests_or_a_label() -> None:
    """A new field has to be put into one of the two lists above."""
    named = {key for test in (test_every_scientific_field_changes_the_id,)
             for override in test.pytestmark[0].args[1] for key in override}
    for section in ("optim", "schedule", "loss", "train", "compute", "data"):
        for field in scientific(getattr(config(), section)):
            assert f"{section}.{field}" in named


def test_other_pictures_under_the_same_name_change_the_id() -> None:
    other = Inputs(digests={**INPUTS.digests, "lfw/val": "d" * 32}, parents=INPUTS.parents)
    assert run_id(config(), other) != BASE


def test_another_parent_changes_the_id() -> None:
    other = Inputs(digests=INPUTS.digests, parents={"init": "e" * 10})
    assert run_id(config(), other) != BASE


def test_the_parents_own_settings_reach_the_childs_id_through_the_parents_id() -> None:
    def ids(lr: float) -> tuple[str, str]:
        child = config(recipe="lfw_then_target", train_on="mlfw", **{"optim.lr": lr})
        parent, run = identify(child, lambda _: INPUTS.digests)
        assert run.parents == (parent.id,)
        return parent.id, run.id

    assert not set(ids(0.1)) & set(ids(0.2))


def test_raising_numerics_changes_every_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "NUMERICS", identity.NUMERICS + 1)
    assert run_id(config(), INPUTS) != BASE


def test_the_gpu_count_joins_only_where_batch_norm_stays_local() -> None:
    synchronised = config(**{"compute.device": "cuda"})
    assert run_id(synchronised, INPUTS, ranks=4) == run_id(synchronised, INPUTS, ranks=1)
    local = config(**{"compute.batch_norm": "local"})
    assert run_id(local, INPUTS, ranks=4) != run_id(local, INPUTS, ranks=1)


def test_a_field_added_later_keeps_the_id_while_it_is_neutral() -> None:
    class Before(Frozen):
        lr: float = 0.1

    class After(Frozen):
        lr: float = 0.1
        swa: Annotated[float, Neutral(0.0)] = 0.0
        note: Annotated[str, Label()] = ""

    def plain(model: BaseModel) -> dict[str, Any]:
        return scientific(model)

    assert plain(After(note="x")) == plain(Before())
    assert plain(After(swa=0.5)) != plain(Before())


def test_the_config_id_is_shared_by_the_seeds_of_a_configuration_only() -> None:
    assert config_id(config(seed=1), INPUTS) == config_id(config(seed=2), INPUTS)
    assert config_id(config(seed=1), INPUTS) != config_id(config(train_on="mlfw"), INPUTS)


def test_the_id_is_the_same_in_another_process_with_another_hash_seed() -> None:
    code = "from test_run_id import *; print(run_id(config(), INPUTS))"
    for hash_seed in ("1", "77"):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                              cwd=REPOSITORY / "tests", env={"PYTHONHASHSEED": hash_seed})
        assert done.stdout.strip() == BASE, done.stderr


def test_the_id_is_the_one_that_this_text_always_had() -> None:
    """The same on any machine and Python: a change here makes every finished run be done again."""
    assert run_id(RunConfig.model_validate({
        "backbone": {"name": "n", "arch": "a"}, "recipe": {"name": "r", "phases": [{"name": "p"}]},
        "train_on": "x", "data": {"sets": {"x": {"folder": "f"}}}, "train": {"select": "best"}}),
        INPUTS) == GOLDEN


GOLDEN = "ff9b64ab3d"

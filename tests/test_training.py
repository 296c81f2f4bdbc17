"""Training in this process on toy data: what a recipe, a schedule and a checkpoint promise."""

import itertools
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TOY
from safetensors.torch import load_file
from toy_parents import train_parent

from fer.config.load import load_run
from fer.config.paths import cache, data_root, home
from fer.config.recipe import PhaseOptim, Schedule
from fer.config.run import Loss
from fer.data.stable_hash import key
from fer.models.registry import build
from fer.study.expand import identify
from fer.study.inputs import InputDigests
from fer.study.run_folder import RunFolder, Store
from fer.train import trainer as engine
from fer.train.callbacks import NO_CALLBACKS, Callbacks, SyncInterval
from fer.train.checkpoint import Checkpoints
from fer.train.distributed import seed_torch
from fer.train.losses import class_weights
from fer.train.optim import learning_rate
from fer.train.run_tasks import Task, work
from fer.train.train_state import Best, Plateau, Progress


def trained(evaluate: tuple[str, ...] = (), expect: str = "done",
            callbacks: Callbacks = NO_CALLBACKS, **overrides: Any) -> RunFolder:
    """Train a toy run and what it starts from, and return its folder."""
    changes = {key.replace("__", "."): value for key, value in overrides.items()}
    config = load_run("configs/drawn.yaml", {**TOY, "keep.tensorboard": False, **changes})
    contents = InputDigests(data_root(), cache())
    *ancestors, run = identify(config, contents)
    for ancestor in ancestors:
        train_parent(ancestor)
    folder = Store(home()).folder(run)
    folder.register(run, {})
    splits = {split: contents.split(split, config.data) for split in evaluate}
    assert work([Task(folder.path, splits)], callbacks) == [expect], folder.status().traceback
    return folder


def epochs(folder: RunFolder) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder.path / "metrics.jsonl").read_text().splitlines()]


def test_a_toy_run_learns(places: Path) -> None:
    folder = trained(("lfw/eval",), train__epochs=8, train__augment="none")
    assert json.loads(folder.result("lfw/eval").read_text())["uar"] > 0.9


@pytest.mark.parametrize("overrides", [
    {"compute__precision": "bf16"}, {"compute__channels_last": False}, {"train__micro_batch": 5},
    {"train__augment": "seed2021", "train__epochs": 1}, {"loss__class_weights": [4.0, 0.9, 0.6]},
    {"optim__name": "radam"}, {"optim__name": "sgd", "optim__lr": 0.05},
    {"train__score": "loss"}, {"train__select": "average", "train__average_epochs": 1},
    {"train__masks": {"probability": 0.5, "template": "drawn"}},
    {"compute__determinism": "strict"}, {"train_on": "lfw+mlfw"},
], ids=lambda overrides: next(iter(overrides)))
def test_every_way_to_train_ends_with_finite_numbers(
    overrides: dict[str, Any], places: Path
) -> None:
    folder = trained(**{"train__epochs": 2, **overrides})
    assert all(np.isfinite(line["train_loss"]) for line in epochs(folder))


def test_the_same_run_twice_has_the_same_lines_and_weights(
    places: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = trained(backbone="cbam_tiny")
    monkeypatch.setenv("FER_HOME", str(tmp_path / "again"))
    second = trained(backbone="cbam_tiny")
    assert epochs(first) == epochs(second)
    weights = [sorted(f.path.glob("checkpoints/*/model.safetensors")) for f in (first, second)]
    assert [p.read_bytes() for p in weights[0]] == [p.read_bytes() for p in weights[1]]


def test_the_probe_of_lp_ft_moves_nothing_but_the_head(places: Path) -> None:
    folder = trained(recipe="lp_ft", recipe__phases=[
        {"name": "probe", "train": ["head"], "batch_norm": "frozen", "epochs": 2}])
    (parent,) = [f for f in Store(home()) if f.run_id == folder.config.inputs.parents["init"]]
    before = load_file(Checkpoints(parent.path / "checkpoints", 2).best() / "model.safetensors")
    after = load_file(Checkpoints(folder.path / "checkpoints", 2).best() / "model.safetensors")
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed and all(key.startswith("fc.") for key in changed)


@pytest.mark.parametrize("left_at", [3, 34])  # in the phase of the head, in the one after it
def test_what_is_frozen_keeps_its_bytes_through_leaving_and_going_on_in_a_phase(
    left_at: int, places: Path
) -> None:
    polls = itertools.count()
    folder = trained(recipe="last_stage", train__epochs=2, expect="preempted",
                     callbacks=Callbacks(stop_requested=lambda: next(polls) > left_at))
    saved = Checkpoints(folder.path / "checkpoints", 2).newest()
    assert saved is not None and saved[1].phase == (left_at > 30)
    assert work([Task(folder.path)]) == ["done"]
    (parent,) = [f for f in Store(home()) if f.run_id == folder.config.inputs.parents["init"]]
    last = Checkpoints(folder.path / "checkpoints", 2).newest()
    assert last is not None and last[1].finished
    before, after = (load_file(place / "model.safetensors") for place in (
        Checkpoints(parent.path / "checkpoints", 2).best(), last[0]))
    model = build(folder.config.backbone, folder.config.data.classes)
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    trains = {id(tensor) for stage in ("stage3", "head") for module in model.stages[stage]
              for tensor in (*module.parameters(), *module.buffers())}
    state = model.net.state_dict(keep_vars=True)
    assert len(moved) > 4 and all(id(state[key]) in trains for key in moved)


def test_fine_tuning_goes_on_from_the_probe_with_its_own_schedule(places: Path) -> None:
    folder = trained(recipe="lp_ft")
    phases = [line["phase"] for line in epochs(folder)]
    assert phases == ["probe"] * 4 + ["finetune"] * 3
    rates = [line["lr"] for line in epochs(folder)]
    assert rates[:4] == [0.005] * 4 and rates[-1] < 0.002


def test_a_phase_trains_with_its_own_optimiser(
    places: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"name": "sgd", "momentum": 0.3, "weight_decay": 0.2, "clip_norm": 0.7}

    def last_weights(phase: dict[str, Any], **overrides: Any) -> bytes:
        folder = trained(recipe="scratch", recipe__phases=[{"name": "all", **phase}], **overrides)
        (path,) = folder.path.glob(f"checkpoints/{(folder.path / 'checkpoints/last').read_text()}"
                                   .strip() + "/model.safetensors")
        return path.read_bytes()

    of_run = last_weights({}, optim__lr=0.02, **{f"optim__{key}": own[key] for key in own})
    assert last_weights({"optim": own, "lr": 0.02}) == of_run
    assert last_weights({"optim": {**own, "momentum": 0.4}, "lr": 0.02}) != of_run
    config = load_run("configs/drawn.yaml", {"recipe": "lp_ft", "optim.clip_norm": 2.0})
    phase = config.recipe.phases[0]
    assert config.optim_of(phase) == config.optim
    phase = phase.model_copy(update={"optim": PhaseOptim(name="radam"), "lr": 0.5})
    assert config.optim_of(phase) == config.optim.model_copy(update={"name": "radam", "lr": 0.5})


def test_early_stopping_ends_a_phase_after_its_patience(places: Path) -> None:
    folder = trained(train__epochs=30, train__early_stop=2, optim__lr=1e-9,
                     schedule__name="constant")
    facts = json.loads((folder.path / "train.json").read_text())
    assert facts["epochs"] == facts["best_epoch"] + 2 < 30


def test_a_run_leaves_when_asked_also_where_an_epoch_is_shorter_than_a_gpus_looks_are_apart(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "max_sync_interval", lambda device: 1000)  # stands for a GPU
    config = load_run("configs/drawn.yaml", {**TOY, "train.epochs": 3})
    *_, run = identify(config, InputDigests(data_root(), cache()))
    folder = Store(home()).folder(run)
    folder.register(run, {})
    assert work([Task(folder.path)], Callbacks(stop_requested=lambda: True)) == ["preempted"]
    saved = Checkpoints(folder.path / "checkpoints", keep=2).newest()
    assert saved is not None and 0 < saved[1].step < 3 * 6
    polls = []
    asking = Callbacks(stop_requested=lambda: bool(polls.append(1)))
    assert work([Task(folder.path)], asking) == ["done"]
    assert len(polls) >= 3 * 3  # steps 1, 3 and the last of each epoch, and while validating


def test_looks_are_far_apart_where_steps_are_fast_and_close_where_they_are_slow() -> None:
    look = SyncInterval(16)
    gaps = [look.next(slow=False) or look.every for _ in range(6)]
    assert gaps == [2, 4, 8, 16, 16, 16]
    gaps = [look.next(slow=True) or look.every for _ in range(6)]
    assert gaps == [8, 4, 2, 1, 1, 1]


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(places: Path) -> None:
    folder = trained(expect="failed", optim__name="sgd", optim__lr=1e30, optim__clip_norm=None)
    status = folder.status()
    assert status.state == "failed" and "NonFiniteLoss" in status.error
    assert "at step 2" in status.error and "Traceback" in status.traceback
    assert not folder.trained


def test_tensorboard_holds_scalars_confusion_pictures_and_hparams_with_test_metrics(
    places: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = trained(("lfw/eval",), keep__tensorboard=True, train__epochs=2)
    events = EventAccumulator(str(folder.path / "tb")).Reload()
    tags = events.Tags()
    assert {"train/loss", "val/uar", "lr", "lfw/eval/uar"} <= set(tags["scalars"])
    assert {"val/confusion", "val/wrong"} & set(tags["images"]) == {"val/confusion", "val/wrong"}
    steps = [event.step for event in events.Scalars("val/uar")]
    assert steps == [line["step"] for line in epochs(folder)]
    assert "_hparams_/session_start_info" in events.summary_metadata


def test_a_finished_run_keeps_its_best_and_last_weights_and_no_optimiser(places: Path) -> None:
    folder = trained(train__epochs=4, train__select="best")
    kept = {path.name for path in folder.path.glob("checkpoints/step-*")}
    pointers = {(folder.path / "checkpoints" / p).read_text().strip() for p in ("best", "last")}
    assert kept == pointers
    assert not list(folder.path.glob("checkpoints/*/optimizer*"))


def test_a_best_checkpoint_whose_content_changed_is_not_evaluated(places: Path) -> None:
    folder = trained()
    best = Checkpoints(folder.path / "checkpoints", 2).best() / "model.safetensors"
    content = bytearray(best.read_bytes())
    content[-1] ^= 1
    best.write_bytes(content)
    contents = InputDigests(data_root(), cache())
    assert work([Task(folder.path, {"lfw/eval": contents.split("lfw/eval", folder.config.data)})]
                ) == ["failed"]
    assert "has changed since it was written" in folder.status().error


@pytest.mark.parametrize("select_mode", ["accuracy", "loss"])
def test_the_plateau_is_that_of_torch(select_mode: str) -> None:
    generator = np.random.default_rng(3)
    costs = np.round(generator.uniform(10, 12, 60), 2).tolist()
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.1, patience=2, min_lr=1e-6)
    ours, schedule = Plateau(), Schedule(name="plateau", factor=0.1, patience=2, min_lr=1e-6)
    for cost in costs:
        theirs.step(cost)
        ours.update(cost, 0.1, schedule)
        assert ours.lr == pytest.approx(optimizer.param_groups[0]["lr"])


def test_cosine_with_warm_up_rises_then_falls_to_its_minimum() -> None:
    schedule = Schedule(name="cosine", warmup_epochs=1, min_lr=0.01)
    rates = [learning_rate(schedule, 1.0, Plateau(), step, 40, 10) for step in range(40)]
    assert rates[:10] == pytest.approx([(k + 1) / 10 for k in range(10)])
    assert rates[10] == 1.0 and all(a > b for a, b in pairwise(rates[10:]))
    assert learning_rate(schedule, 1.0, Plateau(), 40, 40, 10) == pytest.approx(0.01)


def test_balanced_weights_are_those_of_the_2021_study() -> None:
    found = class_weights(Loss(class_weights="balanced"), [768, 3359, 5203])
    assert found == pytest.approx([4.049479, 0.925871, 0.597732], abs=1e-6)


def test_progress_survives_json_exactly() -> None:
    progress = Progress(step=7, losses=0.1 + 0.2, plateau=Plateau(0.3, 1, 1e-5),
                        best=Best(0.7, 5, 2))
    content = json.loads(json.dumps(
        {**progress.__dict__, **{key: vars(getattr(progress, key))
                                 for key in ("plateau", "best", "phase_best")}}))
    assert Progress.from_json(content) == progress


def test_an_earlier_epoch_wins_a_tie() -> None:
    best = Best()
    assert [best.update(score, step, step) for step, score in enumerate([0.5, 0.5, 0.6])] == [
        True, False, True]
    assert replace(best, score=0.6).step == 2


def test_seeding_is_that_of_torch_without_a_picture_of_the_stack(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(key(3, 1, 4) >> 1)
    expected = torch.rand(4)

    def costly(*_: object, **__: object) -> list[str]:
        raise AssertionError("a millisecond a step")

    monkeypatch.setattr("traceback.format_stack", costly)
    seed_torch(3, 1, 4)
    assert torch.equal(torch.rand(4), expected)

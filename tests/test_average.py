"""Means of weights over a phase: what they are, and that they survive everything."""

import json
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import launch, toy_arguments
from safetensors.torch import load_file
from test_features import weights
from test_resume import Start, _kill_when, numbers, only_run
from test_training import epochs, trained
from test_transfer import tiny

from fer.config.recipe import Average
from fer.config.run import Compute
from fer.train import trainer as engine
from fer.train.callbacks import Callbacks
from fer.train.context import new_model
from fer.train.distributed import open_session
from fer.train.ema import AveragedModel, copy_state, set_state, update_batch_norm
from fer.train.run_tasks import Task, work

FULL: dict[str, Any] = {"name": "full", "train": "all"}


def moved(mean: AveragedModel, value: float) -> None:
    with torch.no_grad():
        for parameter in mean.model.parameters():
            parameter.fill_(value)


def test_an_exponential_mean_keeps_decay_of_itself_in_each_step() -> None:
    mean = AveragedModel(tiny(), Average(how="ema", decay=0.75))
    moved(mean, 0.0)
    mean.state = copy_state(mean.model)
    for value in (4.0, 8.0):
        moved(mean, value)
        mean.after_step()
        mean.after_epoch()
    assert torch.allclose(mean.state["fc.weight"], torch.tensor(0.25 * 8 + 0.75 * 0.25 * 4))


def test_the_plain_mean_is_over_the_ends_of_epochs() -> None:
    mean = AveragedModel(tiny(), Average(how="swa"))
    for value in (3.0, 5.0, 10.0):
        moved(mean, value)
        mean.after_step()
        mean.after_epoch()
    assert torch.allclose(mean.state["fc.weight"], torch.tensor(6.0))
    with mean.in_place() as training:
        assert torch.allclose(mean.model.net.fc.weight, torch.tensor(6.0))
        assert torch.equal(training["fc.weight"], torch.full_like(training["fc.weight"], 10.0))
    assert torch.equal(mean.model.net.fc.weight, torch.full((3, 32), 10.0))


def test_what_is_measured_and_kept_is_the_mean_and_what_trains_is_not(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[dict[str, torch.Tensor]] = []
    original = engine._validate_average

    def noting(context: Any, *more: Any) -> Any:
        logits = original(context, *more)
        measured.append(copy_state(context.model))
        return logits

    monkeypatch.setattr(engine, "_validate_average", noting)
    mean = trained(recipe__phases=[{**FULL, "average": {"how": "ema", "decay": 0.9}}])
    plain = trained(recipe__phases=[FULL])
    assert [a["train_loss"] for a in epochs(mean)] == [b["train_loss"] for b in epochs(plain)]
    assert [a["val_loss"] for a in epochs(mean)] != [b["val_loss"] for b in epochs(plain)]
    kept = weights(mean)
    assert not any(torch.equal(kept["fc.weight"], state["fc.weight"]) for state in measured)
    assert not list(mean.path.glob("checkpoints/*/training.safetensors"))  # done: not needed


def test_the_next_phase_begins_with_the_mean(places: Path) -> None:
    phases = [{**FULL, "average": {"how": "ema", "decay": 0.9}, "epochs": 1},
              {"name": "head", "train": ["head"], "batch_norm": "frozen", "epochs": 1}]
    both, first = trained(recipe__phases=phases), trained(recipe__phases=phases[:1])
    last = load_file(sorted(both.path.glob("checkpoints/step-*"))[-1] / "model.safetensors")
    mean = weights(first)
    assert all(torch.equal(last[key], mean[key]) for key in last if not key.startswith("fc."))
    assert not torch.equal(last["fc.weight"], mean["fc.weight"])


@pytest.mark.parametrize("phase", [
    {"train": "all"}, {"train": ["stage3", "head"]}, {"train": ["head"], "views": 2},
    {"train": "all", "batch_norm": "frozen"}],
    ids=["all", "last stage", "views", "batch-norm frozen"])
@pytest.mark.parametrize("how", ["ema", "swa"])
def test_the_checkpoint_is_the_model_that_was_validated_and_what_is_frozen_stays(
    how: str, phase: dict[str, Any], places: Path
) -> None:
    folder = trained(("lfw/val",), recipe__phases=[
        {"name": "only", **phase, "average": {"how": how}}])
    result = json.loads(folder.result("lfw/val").read_text())
    facts = json.loads((folder.path / "train.json").read_text())
    line = epochs(folder)[facts["best_epoch"] - 1]
    assert result["uar"] == pytest.approx(line["val_uar"])
    assert result["nll"] == pytest.approx(line["val_loss"], rel=1e-3)
    with open_session(folder.config.compute) as session:
        start, _ = new_model(folder.config, session)
    frozen = {"all": (), "last": ("bn1", "layer1", "layer2"), "views": ("bn1", "layer"),
              "batch": ("bn1", "layer")}
    name = ("views" if "views" in phase else "batch" if "batch_norm" in phase else
            "all" if phase["train"] == "all" else "last")
    for key, tensor in weights(folder).items():
        if "running" in key and key.startswith(frozen[name]) and frozen[name]:
            assert torch.equal(tensor, start.net.state_dict()[key]), key


@pytest.mark.slow
@pytest.mark.parametrize("how", ["ema", "swa"])
def test_asked_to_leave_while_the_mean_is_measured_it_goes_on_exactly(
    how: str, places: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"recipe__phases": [{**FULL, "average": {"how": how}}]}
    calm = trained(**own)
    monkeypatch.setenv("FER_HOME", str(tmp_path / "again"))
    monkeypatch.setattr("fer.train.predict.POLL", 1)
    asked: list[bool] = []
    original = AveragedModel.in_place

    @contextmanager
    def asking(self: AveragedModel, estimate: Any = None) -> Any:
        if not asked and self.epochs + (how == "ema") == 1 and estimate.__name__ == "estimate":
            asked.append(True)
        with original(self, estimate) as training:
            yield training

    monkeypatch.setattr(AveragedModel, "in_place", asking)
    stopping = Callbacks(stop_requested=lambda: bool(asked))
    folder = trained(expect="preempted", callbacks=stopping, **own)
    assert asked and not folder.trained
    assert work([Task(folder.path)]) == ["done"]
    assert epochs(folder) == epochs(calm)
    assert all(torch.equal(tensor, weights(calm)[key]) for key, tensor in weights(folder).items())


@pytest.mark.slow
@pytest.mark.parametrize("how", ["ema", "swa"])
def test_a_run_that_takes_a_mean_goes_on_where_it_was_killed(
    how: str, places: Path, tmp_path: Path, start: Start
) -> None:
    arguments = toy_arguments(
        recipe__phases=f"[{{name: full, train: all, average: {{how: {how}}}}}]", train__epochs=5,
        keep__every_minutes=0.002)
    calm = launch("train", "configs/drawn.yaml", *arguments, FER_HOME=str(tmp_path / "calm"))
    assert calm.returncode == 0, calm.stdout + calm.stderr
    process = start("train", "configs/drawn.yaml", *arguments)
    _kill_when(process, lambda: any(int(path.name.split("-")[1]) >= 8
                                    for path in places.glob("runs/*/checkpoints/step-*")))
    last = launch("train", "configs/drawn.yaml", *arguments)
    assert last.returncode == 0, last.stdout + last.stderr
    assert numbers(only_run(places, "scratch")) == numbers(only_run(tmp_path / "calm", "scratch"))


def test_statistics_are_those_of_training_batches(places: Path) -> None:
    class Batches:
        steps_per_epoch = 3

        def batch(self, epoch: int, step: int) -> Any:
            generator = torch.Generator().manual_seed(step)
            images = torch.rand(8, 3, 48, 48, generator=generator)
            return type("Batch", (), {"images": images, "__len__": lambda self: 8})()

    model = tiny()
    layer = model.batch_norms()[0]
    seen: list[torch.Tensor] = []
    layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    with open_session(Compute(device="cpu")) as session:
        update_batch_norm(model, Batches(), session)  # type: ignore[arg-type]
    means = torch.stack([maps.mean((0, 2, 3)) for maps in seen])
    assert torch.allclose(layer.running_mean, means.mean(0), atol=1e-5)
    assert layer.momentum == 0.1 and layer.training


def test_put_overwrites_in_place() -> None:
    model = tiny()
    before = model.net.fc.weight
    set_state(model,
              {key: torch.zeros_like(tensor) for key, tensor in model.net.state_dict().items()})
    assert model.net.fc.weight is before and not before.any()

"""Training on paired views: what a step minimises, teachers as parents, ranks and resume."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import REPOSITORY, launch, toy_arguments
from test_mistakes import said_in_one_line
from test_resume import Start, _kill_when, numbers, only_run
from test_training import epochs, trained
from torch import nn
from warm_python import interpreter

from fer.config.load import load_run
from fer.config.recipe import Pair
from fer.config.run import Compute
from fer.data.batches import Batch
from fer.study.run_folder import Store
from fer.train.distributed import open_session
from fer.train.losses import (
    BothViews,
    Distillation,
    Objective,
    WeightedCrossEntropy,
    backward,
    divergence,
)

SLOW = pytest.mark.slow

WEIGHTS = np.array([4.0, 0.9, 0.6])


def loss() -> WeightedCrossEntropy:
    return WeightedCrossEntropy(WEIGHTS, 0.1, torch.device("cpu"))


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    images, second = torch.randn(2, 12, 3, 2, 2, generator=generator)
    labels = torch.arange(12) % 3
    return Batch(images, labels, np.arange(12), 0, labels.numpy(), second)


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 3))


def test_the_divergence_is_kullback_leiblers_times_the_square_of_the_temperature() -> None:
    logits, target = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(2))
    p, q = (torch.softmax(one.double() / 3, 1) for one in (target, logits))
    expected = 9 * (p * (p / q).log()).sum(1)
    assert torch.allclose(divergence(logits, target, 3.0).double(), expected, atol=1e-5)
    assert torch.equal(divergence(logits, logits, 2.0), torch.zeros(5))


def test_joint_is_the_mean_of_both_views_and_consistency_adds_how_far_they_are_apart(
    batch: Batch, network: nn.Module
) -> None:
    plain = loss()
    masked, clean = network(batch.images), network(batch.second)
    mean = (plain.sum(masked, batch.labels) + plain.sum(clean, batch.labels)) / 2
    joint = BothViews(plain, Pair(how="joint")).sum(network, batch)
    assert torch.allclose(joint, mean)
    both = F.kl_div(masked.log_softmax(1), clean.log_softmax(1), log_target=True, reduction="none")
    back = F.kl_div(clean.log_softmax(1), masked.log_softmax(1), log_target=True, reduction="none")
    apart = ((both + back).sum(1) / 2 * torch.tensor(WEIGHTS[batch.labels])).sum()
    found = BothViews(plain, Pair(how="consistency", weight=0.7)).sum(network, batch)
    assert torch.allclose(found.double(), (mean + 0.7 * apart).double(), rtol=1e-5)


def test_a_student_is_shown_masks_and_its_teacher_none(batch: Batch, network: nn.Module) -> None:
    seen: list[torch.Tensor] = []

    def teacher(images: torch.Tensor) -> torch.Tensor:
        seen.append(images)
        return torch.zeros(len(images), 3)

    pair = Pair(how="distill", weight=2.0, temperature=1.0)
    found = Distillation(loss(), pair, teacher).sum(network, batch)
    assert torch.equal(seen[0], batch.second)
    logits = network(batch.images)
    uniform = torch.full((12, 3), 1 / 3).log()
    apart = F.kl_div(logits.log_softmax(1), uniform, log_target=True, reduction="none").sum(1)
    expected = loss().sum(logits, batch.labels) + 2 * (apart * loss().weights[batch.labels]).sum()
    assert torch.allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("how", ["joint", "consistency", "distill"])
@pytest.mark.parametrize("micro_batch", [1, 5, None])
def test_micro_batches_give_the_gradient_of_the_whole_batch(
    how: str, micro_batch: int | None, batch: Batch, network: nn.Module
) -> None:
    def gradient(size: int | None) -> torch.Tensor:
        network.zero_grad()
        with open_session(Compute(device="cpu")) as session:
            pair = Pair(how=how, weight=1.5)  # type: ignore[arg-type]
            objective: Objective = BothViews(loss(), pair)
            if how == "distill":
                objective = Distillation(loss(), pair, lambda images: images.flatten(1)[:, :3])
            backward(session, network, objective, batch, size)
        return torch.cat([p.grad.flatten() for p in network.parameters()])

    assert torch.allclose(gradient(micro_batch), gradient(12), atol=1e-6)


MASKED: dict[str, Any] = {"train_on": "mlfw", "train__epochs": 2}


@pytest.mark.parametrize("more", [{"recipe": "joint"}, {"recipe": "consistency"},
                                  {"recipe": "distill"},
                                  *(pytest.param(one, marks=SLOW) for one in [
                                      {"recipe": "consistency", "train_on": "lfw",
                                       "train__masks": {"probability": 0.7, "template": "drawn"}},
                                      {"recipe": "distill", "train_on": "lfw+mlfw"},
                                      {"recipe": "joint", "train__micro_batch": 5},
                                      {"recipe": "distill", "compute__precision": "bf16"}])],
                         ids=lambda more: "-".join(map(str, more.values()))[:30])
def test_every_paired_recipe_trains(more: dict[str, Any], places: Path) -> None:
    folder = trained(**{**MASKED, **more})
    assert [line["phase"] for line in epochs(folder)] == ["probe"] * 4 + ["finetune"] * 2
    assert all(np.isfinite(line["train_loss"]) for line in epochs(folder))


@pytest.mark.slow
def test_a_teacher_is_a_run_of_its_own_on_unmasked_faces_trained_first(places: Path) -> None:
    student = trained(recipe="distill", **MASKED)
    ids = student.config.inputs.parents
    assert ids.keys() == {"init", "teacher"}
    (teacher,) = [folder for folder in Store(student.path.parents[1])
                  if folder.run_id == ids["teacher"]]
    assert teacher.trained and teacher.config.train_on == "lfw"
    assert teacher.config.recipe.name == "lp_ft" and teacher.config.seed == student.config.seed
    assert "lfw/train" in student.config.inputs.digests  # what its teacher sees is in its id
    other = trained(recipe="distill", **MASKED, recipe__teacher={"set": {
        "train_on": "lfw", "recipe": "linear_probe"}})
    assert other.run_id != student.run_id


@pytest.mark.slow
def test_the_masked_pictures_alone_give_another_run(places: Path) -> None:
    runs = {trained(recipe=recipe, **MASKED).run_id
            for recipe in ("lp_ft", "joint", "consistency", "distill")}
    assert len(runs) == 4


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["joint", "consistency", "distill"])
def test_a_paired_run_goes_on_where_it_was_killed(
    recipe: str, places: Path, tmp_path: Path, start: Start
) -> None:
    arguments = toy_arguments(recipe=recipe, train_on="mlfw", train__epochs=3,
                              keep__every_minutes=0.002)
    calm = launch("train", "configs/drawn.yaml", *arguments, FER_HOME=str(tmp_path / "calm"))
    assert calm.returncode == 0, calm.stdout + calm.stderr
    process = start("train", "configs/drawn.yaml", *arguments)
    _kill_when(process, lambda: any(  # in its second phase, in the middle of an epoch
        int(path.name.split("-")[1]) >= 28
        for path in places.glob(f"runs/*-{recipe}-*/checkpoints/step-*")))
    last = launch("train", "configs/drawn.yaml", *arguments)
    assert last.returncode == 0, last.stdout + last.stderr
    assert numbers(only_run(places, recipe)) == numbers(only_run(tmp_path / "calm", recipe))


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["joint", "consistency", "distill"])
def test_ranks_train_on_pairs_together(recipe: str, places: Path) -> None:
    done = subprocess.run(
        [interpreter(), "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
         "launch/train.py", "configs/drawn.yaml",
         *toy_arguments(recipe=recipe, train_on="mlfw", train__epochs=1,
                        evaluate_on="[real/test]")],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    run = only_run(places, recipe)
    assert json.loads((run / "env.json").read_text())["world_size"] == 2
    assert json.loads((run / "results/real/test.json").read_text())["n"] == 24


@pytest.mark.parametrize(("overrides", "words"), [
    ({"train_on": "lfw"}, ("pairs masked pictures", "train.masks")),
    ({"train_on": "mlfw", "train.mix": {"how": "mixup"}}, ("no train.mix",)),
    ({"train_on": "mlfw", "recipe.teacher": {"set": {"recipe": "lp_ft"}}}, ("a teacher",)),
])
def test_pairs_that_make_no_sense_are_one_line(
    overrides: dict[str, Any], words: tuple[str, ...], places: Path
) -> None:
    arguments = [f"{key}={json.dumps(value)}" for key, value in overrides.items()]
    plain = [a for a in toy_arguments(recipe="joint") if not a.startswith("train_on")]
    said_in_one_line(launch("train", "configs/drawn.yaml", *plain, *arguments), *words)


def test_a_student_that_teaches_itself_is_a_loop(places: Path) -> None:
    arguments = toy_arguments(recipe="distill", train_on="mlfw")
    said_in_one_line(launch("train", "configs/drawn.yaml", *arguments,
                            'recipe.teacher={set: {seed: 1}}'), "loop")


def test_a_teacher_that_looks_at_other_pictures_is_one_line(places: Path) -> None:
    arguments = toy_arguments(recipe="distill", train_on="mlfw")
    teacher = "{set: {train_on: lfw, recipe: lp_ft, backbone.input_size: 64}}"
    said_in_one_line(launch("train", "configs/drawn.yaml", *arguments,
                            f"recipe.teacher={teacher}"), "64 pixels")


def test_a_teacher_without_distillation_is_refused() -> None:
    with pytest.raises(Exception, match="require each other"):
        load_run("configs/drawn.yaml", {"recipe": "lp_ft", "recipe.teacher": {"set": {}}})

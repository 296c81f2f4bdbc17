"""Each type of mask weighs the same in the loss, where the configuration says so."""

import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import TOY, launch, toy_arguments
from test_features import weights
from test_training import epochs, trained

from fer.config.augmentation import Mix
from fer.config.load import load_run
from fer.config.paths import cache, data_root
from fer.config.run import Inputs, RunConfig
from fer.config.run_id import run_id
from fer.data.batches import TrainBatches
from fer.data.mask_types import type_weights, types_digest
from fer.data.metadata import Facts, read_facts, write_facts
from fer.data.pack import ensure_pack
from fer.data.pixels import Source
from fer.errors import CallerError
from fer.study.inputs import InputDigests
from fer.train.callbacks import Callbacks
from fer.train.checkpoint import Checkpoints
from fer.train.context import sample_weights
from fer.train.distributed import open_session
from fer.train.losses import Objective, WeightedCrossEntropy, backward
from fer.train.run_tasks import Task, work

BALANCED = {"loss__mask_type_weights": "balanced", "train_on": "lfw+mlfw"}


@pytest.fixture
def masked(places: Path, toy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A masked set of which a tenth wears cloth and the rest, as all of LFW-FER, what is unsaid."""
    root = tmp_path / "own data"
    shutil.copytree(toy_data, root)
    monkeypatch.setenv("FER_DATA", str(root))
    folder = root / "M-LFW-FER"
    write_facts(folder, {str(path.relative_to(folder)): Facts(mask_type="cloth")
                         for path in sorted(folder.glob("train/*/*"))[::10]})
    return folder


def config(**more: object) -> RunConfig:
    changes = {key.replace("__", "."): value for key, value in {**BALANCED, **more}.items()}
    return load_run("configs/drawn.yaml", {**TOY, **changes})


def identity() -> str:
    """Return the run id under what is on disk now."""
    found = config(recipe="scratch")
    return run_id(found, Inputs(digests=InputDigests(data_root(), cache())(found)))


def test_every_type_weighs_the_same_and_all_together_as_many_as_they_are() -> None:
    types = {"a/1": "cloth", "a/2": "cloth", "a/3": "a/", "b/1": "b/", "b/2": "cloth"}
    weights = type_weights(types, list(types))
    assert weights.sum() == pytest.approx(5)
    assert weights == pytest.approx([5 / 9, 5 / 9, 5 / 3, 5 / 3, 5 / 9])


def test_the_digest_follows_who_shares_a_type_and_no_names() -> None:
    plain = types_digest({"a/1": "cloth", "a/2": "flat", "a/3": "cloth"})
    assert plain == types_digest({"z/3": "x", "z/1": "x", "z/2": "y"})
    assert plain != types_digest({"a/1": "cloth", "a/2": "flat", "a/3": "flat"})


def test_the_run_id_follows_the_types_only_where_they_count(masked: Path) -> None:
    before = identity()
    facts = dict(read_facts(masked))
    write_facts(masked, {file: Facts(mask_type="linen") for file in facts})
    assert identity() == before  # another name for the same pictures
    write_facts(masked, dict(list(facts.items())[1:]))
    assert identity() != before
    unweighted = config(recipe="scratch", loss__mask_type_weights="none")
    assert set(InputDigests(data_root(), cache())(unweighted)) == {
        f"{name}/{part}" for name in ("lfw", "mlfw") for part in ("train", "val")}


@pytest.fixture
def source(masked: Path) -> Source:
    made, contents = config(), InputDigests(data_root(), cache())
    return Source([ensure_pack(split, made.data, data_root(), 48, cache(),
                               contents.split(split, made.data))
                   for split in ("lfw/train", "mlfw/train")])


@pytest.mark.parametrize("mix", [None, Mix(how="mixup", alpha=1.0)])
def test_a_step_weighs_its_pictures_by_class_and_type(source: Source, mix: Mix | None) -> None:
    weights = np.random.default_rng(0).uniform(0.2, 3, source.n).astype(np.float32)
    batch = TrainBatches(source, 1, "none", 16, mix=mix, weights=weights).batch(0, 1)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48 * 48 * 3, 3))
    classes = np.array([3.0, 1.0, 0.5])
    loss = WeightedCrossEntropy(classes, 0.1, torch.device("cpu"))
    images = batch.images.float() / 255
    with torch.no_grad():
        logits = model(images)
    each = torch.stack([F.cross_entropy(logits, torch.full((len(logits),), label), reduction="none",
                                        label_smoothing=0.1) for label in range(3)], 1)
    if mix is None:
        labels = source.labels_of(batch.indices)
        amounts = np.eye(3)[labels] * weights[batch.indices][:, None]
    else:  # how the shares and weights of mixed samples come about is looked at below
        amounts = batch.labels.numpy().astype(float)
    total = amounts * classes
    expected = (total * each.numpy()).sum() / total.sum()
    with open_session(config().compute) as session:
        share = backward(session, model, Objective(loss), replace(batch, images=images), 5)
    assert float(share) == pytest.approx(expected, rel=1e-5)


def test_a_mixed_picture_weighs_what_its_parts_do(source: Source) -> None:
    mix, even = Mix(how="mixup", alpha=1.0), np.full(source.n, 2.0, np.float32)
    plain = TrainBatches(source, 1, "none", 16, mix=mix).batch(0, 1).labels
    twice = TrainBatches(source, 1, "none", 16, mix=mix, weights=even).batch(0, 1).labels
    assert torch.allclose(twice, 2 * plain)
    only = (np.arange(source.n) % 2).astype(np.float32)
    half = TrainBatches(source, 1, "none", 16, mix=mix, weights=only).batch(0, 1).labels
    assert 0 < float(half.sum()) < float(plain.sum())
    assert bool((half <= plain + 1e-6).all())


@pytest.mark.slow
@pytest.mark.parametrize("more", [
    {"recipe": "scratch"}, {"recipe": "joint", "train_on": "mlfw", "train__epochs": 1},
    {"recipe": "linear_probe"}], ids=lambda more: str(more["recipe"]))
def test_it_changes_what_is_learnt_from_the_first_epoch_on(
    more: dict[str, object], masked: Path, places: Path
) -> None:
    lines = []
    for how in ("none", "balanced"):
        arguments = toy_arguments(**{**BALANCED, "train__epochs": 1, **more,
                                     "loss__mask_type_weights": how})
        done = launch("train", "configs/drawn.yaml", *arguments)
        assert done.returncode == 0, done.stderr
        (file,) = [path / "metrics.jsonl" for path in places.glob(f"runs/*-{more['recipe']}-*")
                   if f"mask_type_weights: {how}" in (path / "config.yaml").read_text()]
        lines.append(json.loads(file.read_text().splitlines()[0]))
    assert lines[0]["train_loss"] != lines[1]["train_loss"]


@pytest.mark.slow
def test_a_run_that_left_in_the_middle_goes_on_with_the_same_weights_of_types(
    masked: Path, places: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm = trained(**BALANCED, recipe="scratch", train__epochs=2)
    monkeypatch.setenv("FER_HOME", str(tmp_path / "again"))
    polls = itertools.count()
    folder = trained(**BALANCED, recipe="scratch", train__epochs=2, expect="preempted",
                     callbacks=Callbacks(stop_requested=lambda: next(polls) > 7))
    saved = Checkpoints(folder.path / "checkpoints", keep=2).newest()
    assert saved is not None and 0 < saved[1].step < 22 and not folder.trained
    write_facts(masked, {})  # what was planned counts
    assert work([Task(folder.path)]) == ["done"]
    assert epochs(folder) == epochs(calm)
    assert folder.name == calm.name and weights(folder).keys() == weights(calm).keys()
    assert all(torch.equal(tensor, weights(calm)[key]) for key, tensor in weights(folder).items())


def test_types_that_changed_since_the_run_was_planned_are_refused(
    masked: Path, source: Source
) -> None:
    made = config(recipe="scratch")
    planned = made.model_copy(update={
        "inputs": Inputs(digests=InputDigests(data_root(), cache())(made))})
    weights = sample_weights(planned, source)
    assert weights is not None and len(set(weights.tolist())) == 3  # lfw, cloth, rest of mlfw
    write_facts(masked, {})
    assert np.array_equal(sample_weights(planned, source), weights)  # from the cache
    shutil.rmtree(cache() / "mask_types")
    with pytest.raises(CallerError, match=r"lfw\+mlfw, or their mask types .* planned"):
        sample_weights(planned, source)

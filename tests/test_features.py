"""What a frozen body makes of pictures is computed once, and gives what pictures would."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import REPOSITORY, launch, toy_arguments
from safetensors.torch import load_file
from test_mistakes import said_in_one_line
from test_training import epochs, trained
from warm_python import interpreter

from fer.config.blocks import load_backbone
from fer.evaluate.predictions import read_predictions
from fer.models.classifier import Classifier
from fer.models.registry import build
from fer.study.run_folder import RunFolder
from fer.train import features
from fer.train.checkpoint import Checkpoints
from fer.train.features import Body

SLOW = pytest.mark.slow

PROBE: dict[str, Any] = {"recipe": "linear_probe", "train__epochs": 3}


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures went through a whole network, call by call."""
    counts: list[int] = []
    forward = Classifier.forward

    def counting(self: Classifier, images: torch.Tensor) -> torch.Tensor:
        counts.append(len(images))
        return forward(self, images)

    monkeypatch.setattr(Classifier, "forward", counting)
    return counts


def weights(folder: RunFolder) -> dict[str, torch.Tensor]:
    return load_file(Checkpoints(folder.path / "checkpoints", 2).best() / "model.safetensors")


def feature_files(home: Path) -> list[Path]:
    return sorted((home.parent / "cache/features").glob("*.npy"))


@pytest.mark.parametrize("overrides", [
    {}, *(pytest.param(one, marks=SLOW) for one in [
        {"train__augment": "strong"}, {"train__augment": "seed2021", "train__epochs": 2},
        {"train__masks": {"probability": 0.7, "template": "drawn"}, "optim__name": "sgd"},
        {"train_on": "lfw+mlfw", "train__micro_batch": 5}]),
], ids=lambda overrides: "-".join(overrides) or "light")
def test_kept_features_give_the_losses_and_weights_that_pictures_give(
    overrides: dict[str, Any], places: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = trained(("real/test",), **{**PROBE, **overrides})
    monkeypatch.setenv("FER_HOME", str(tmp_path / "again"))
    monkeypatch.setenv("FER_CACHE", str(tmp_path / "other cache"))
    monkeypatch.setattr(Body, "head_is_last", lambda *_: False)  # pictures, step by step
    shown_anew = trained(("real/test",), **{**PROBE, **overrides})
    assert feature_files(places) and not list(tmp_path.glob("other cache/features/*.npy"))
    for one, two in zip(epochs(kept), epochs(shown_anew), strict=True):
        assert one["train_loss"] == pytest.approx(two["train_loss"], rel=1e-4)
        assert one["val_loss"] == pytest.approx(two["val_loss"], rel=1e-3)
    own, other = weights(kept), weights(shown_anew)
    assert all(torch.allclose(own[key], other[key], atol=1e-4) for key in own)
    tables = [read_predictions(folder.predictions("real/test")) for folder in (kept, shown_anew)]
    assert np.allclose(tables[0].logits, tables[1].logits, atol=1e-3)


def test_every_picture_goes_through_the_body_once_whatever_the_number_of_runs(
    places: Path, shown: list[int]
) -> None:
    trained(("real/test",), **PROBE)
    once = sum(shown)
    shown.clear()
    for lr in (1e-3, 1e-2):
        for seed in (3, 4):
            trained(("real/test",), **PROBE, optim__lr=lr, seed=seed)
    assert once > 0 and sum(shown) == 0


@pytest.mark.slow
def test_a_head_that_is_shown_other_pictures_in_each_epoch_keeps_no_features(
    places: Path, shown: list[int]
) -> None:
    folder = trained(recipe="linear_probe", train__epochs=3, recipe__phases=[
        {"name": "probe", "train": ["head"], "batch_norm": "frozen"}])
    assert not feature_files(places) and len(epochs(folder)) == 3


def test_an_epoch_of_the_first_view_shows_pictures_as_they_are(places: Path) -> None:
    folder = trained(**PROBE)
    train, = (path for path in feature_files(places) if np.load(path).shape[0] == 4)
    views = np.load(train)
    assert views.dtype == np.float32 and views.shape[2:] == (32,)
    assert not np.allclose(views[0], views[1]) and not np.allclose(views[1], views[2])
    plain = trained(**PROBE, recipe__phases=[{"name": "probe", "train": ["head"], "views": 1}])
    (one,) = (np.load(path) for path in feature_files(places)
              if np.load(path).shape[:2] == (1, views.shape[1]))
    assert np.array_equal(one[0], views[0]) and plain.run_id != folder.run_id


@pytest.mark.parametrize("damage", [
    "cut", *(pytest.param(one, marks=SLOW) for one in ("gone", "garbage"))])
def test_a_damaged_file_of_features_is_made_anew(damage: str, places: Path) -> None:
    trained(**PROBE)
    before = {path: path.read_bytes() for path in feature_files(places)}
    for path, content in before.items():
        path.unlink() if damage == "gone" else path.write_bytes(
            content[: len(content) // 2] if damage == "cut" else b"no array")
    trained(**PROBE, seed=5)
    assert {path: path.read_bytes() for path in feature_files(places)} == before


@pytest.mark.slow
def test_ranks_compute_the_features_that_one_process_does(
    places: Path, tmp_path: Path
) -> None:
    arguments = toy_arguments(recipe="linear_probe", train__epochs=1, evaluate_on="[lfw/eval]",
                              recipe__init__source="scratch")
    alone = launch("train", "configs/drawn.yaml", *arguments)
    assert alone.returncode == 0, alone.stderr
    before = {path.name: path.read_bytes() for path in feature_files(places)}
    for path in feature_files(places):
        path.unlink()
    done = subprocess.run(
        [interpreter(), "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=3",
         "launch/train.py", "configs/drawn.yaml", *arguments],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path.name: path.read_bytes() for path in feature_files(places)} == before
    sizes = [json.loads(result.read_text())["n"] for result in places.glob("runs/*/results/*/*")]
    assert sizes == [24, 24]  # with local batch-norm the number of ranks makes it another run


@pytest.mark.parametrize(("name", "last"), [
    ("resmasking_tiny", True), ("mobilenetv2_w1", True), ("efficientnet_b2b", True),
    ("torchvision/squeezenet1_1", False)])
def test_a_head_stands_alone_or_the_network_is_found_out(name: str, last: bool) -> None:
    """SqueezeNet pools the maps of its class layer, so what that gives are not its logits."""
    backbone = load_backbone(name).model_copy(update={"input_size": 64})
    model = build(backbone, ("a", "b", "c"))
    body = Body(model, None, None)  # type: ignore[arg-type]
    assert body.head_is_last(torch.rand(1, 3, 64, 64)) is last
    assert model.training


def test_files_that_were_used_longest_ago_make_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    monkeypatch.setattr(features, "MOST_BYTES", 250)
    for number, name in enumerate(("kept", "oldest", "newer")):
        (tmp_path / f"{name}.npy").write_bytes(b"x" * 100)
        os.utime(tmp_path / f"{name}.npy", (number, number))
    features._make_room(tmp_path / "kept.npy")
    assert {path.stem for path in tmp_path.glob("*")} == {"kept", "newer"}


def test_views_of_a_phase_that_trains_more_are_refused_in_one_line(places: Path) -> None:
    said_in_one_line(launch("train", "configs/drawn.yaml", *toy_arguments(
        recipe__phases="[{name: a, train: all, views: 2}]")), "views", "only the head")


@pytest.mark.slow
def test_the_same_pictures_under_another_name_have_augmented_features_of_their_own(
    places: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(**PROBE)
    first = {path.name: path.read_bytes() for path in feature_files(places)}
    other = trained(**PROBE, train_on="people", seed=5)  # the folder of lfw
    kept = {path.name for path in feature_files(places)}
    assert len(kept - first.keys()) == 1  # the plain ones of the validation split are shared
    assert {name: (places.parent / "cache/features" / name).read_bytes() for name in first} == first
    monkeypatch.setenv("FER_CACHE", str(tmp_path / "an empty cache"))
    monkeypatch.setenv("FER_HOME", str(tmp_path / "again"))
    alone = trained(**PROBE, train_on="people", seed=5)
    assert epochs(alone) == epochs(other)
    assert all(torch.equal(tensor, weights(alone)[key]) for key, tensor in weights(other).items())


@pytest.mark.slow
def test_pictures_that_validation_masks_are_drawn_on_by_their_names_too(
    places: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same pictures under two names wear other masks, so their features differ."""
    masked = {**PROBE, "train__masks": {"probability": 0.7, "template": "drawn"}}
    trained(**masked)
    other = trained(**masked, train_on="people", seed=5)  # the folder of lfw
    monkeypatch.setenv("FER_CACHE", str(tmp_path / "an empty cache"))
    monkeypatch.setenv("FER_HOME", str(tmp_path / "again"))
    assert epochs(trained(**masked, train_on="people", seed=5)) == epochs(other)


@pytest.mark.slow
def test_features_of_plain_pictures_keep_the_names_that_they_had(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []
    dumps = json.dumps

    def noting(content: Any, **how: Any) -> str:
        if isinstance(content, dict) and "views" in content:
            asked.append(tuple(content))
        return dumps(content, **how)

    monkeypatch.setattr(features.json, "dumps", noting)
    trained(**PROBE)
    before = ("version", "numerics", "body", "backbone", "packs", "views", "compute", "device")
    assert set(asked) == {before, (*before, "augment", "masks", "uids")}

"""`launch/weights.py convert`: original checkpoints become files that say which model they are."""

import numpy as np
import pytest
import torch
from conftest import REPOSITORY, launch
from test_mistakes import said_in_one_line
from test_weights import SEVEN, pictures, tiny

from fer.data.pack import Pack
from fer.data.pixels import Source
from fer.evaluate.predictions import read_predictions
from fer.models.checkpoint_import import to_original
from fer.models.weights import describe_weights, load_model
from fer.untrusted_io import read_json


def original(path, classes=SEVEN):
    """Write a checkpoint as the original training code does, without a file extension."""
    model = tiny(classes=classes).eval()
    torch.save({"net": to_original(model), "best_val_acc": np.float64(71.5), "lr": 0.1}, path)
    return model


def convert(source, cache, *more):
    return launch("weights", "convert", source, "--backbone", "resmasking_tiny", *more,
                  FER_CACHE=str(cache))


def test_a_converted_checkpoint_gives_the_same_logits_and_knows_its_classes(tmp_path):
    model = original(tmp_path / "resmasking_2019Nov30")
    done = convert(tmp_path / "resmasking_2019Nov30", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "all tensors loaded" in done.stdout and "angry, disgust" in done.stdout
    file = tmp_path / "weights/resmasking_2019Nov30.safetensors"
    loaded = load_model(file)
    images = pictures() / 255  # its preprocessing is that of the backbone that was named
    assert loaded.classes == SEVEN and torch.equal(loaded.net(images), model.net(images))
    assert describe_weights(file).extra["source"] == "resmasking_2019Nov30"


def test_what_it_prints_starts_a_run_and_says_that_the_head_is_lost(tmp_path, toy_data):
    original(tmp_path / "seven")
    said = convert(tmp_path / "seven", tmp_path, "--as", "mine").stdout
    start = said.split("start from it with: ")[1].split("'")
    recipe, weights = start[0].split()[1], start[0].split()[2] + start[1]
    done = launch("train", "configs/drawn.yaml", "--debug", "data.drawn=null", "train_on=lfw",
                  "data.sets.lfw.folder=LFW-FER", "data.sets.mlfw.folder=M-LFW-FER",
                  "data.sets.real.folder=REAL-FER", recipe, weights, FER_CACHE=str(tmp_path),
                  FER_HOME=str(tmp_path), FER_DATA=str(toy_data))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "starts from mine.safetensors" in done.stdout.replace("\n", " ")
    assert "the head was dropped" in done.stdout.replace("\n", " ")


def test_a_converted_checkpoint_is_measured_without_a_run(tmp_path, toy_data):
    """The job of the original tool: a checkpoint of 2021, a split, a confusion matrix."""
    classes = ("negative", "neutral", "positive")
    original(tmp_path / "resmasking_2021", classes)
    assert convert(tmp_path / "resmasking_2021", tmp_path, "--classes", ",".join(classes)
                   ).returncode == 0
    data = tmp_path / "data.yaml"
    data.write_text(f"base: {REPOSITORY}/configs/drawn.yaml\n"
                    "data: {sets: {real: {folder: REAL-FER}}, drawn: null}\n")
    done = launch("evaluate", tmp_path / "weights/resmasking_2021.safetensors", "--split",
                  "real/test", "--data", data, FER_CACHE=str(tmp_path), FER_HOME=str(tmp_path),
                  FER_DATA=str(toy_data))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "positive" in done.stdout and "real/test" in done.stdout
    (folder,) = (tmp_path / "evaluations").iterdir()
    found = read_predictions(folder / "predictions/real/test.parquet")
    assert read_json(folder / "results/real/test.json")["n"] == len(found) > 0
    (packed,) = (index.parent for index in tmp_path.glob("packs/**/index.parquet"))
    source = Source([Pack.open(packed)])
    with torch.no_grad():
        pixels = source.gather_from_disk(np.arange(source.n)).permute(0, 3, 1, 2)
        alone = load_model(tmp_path / "weights/resmasking_2021.safetensors")(pixels).numpy()
    order = [source.index()["sample_id"].to_pylist().index(name) for name in found.sample_ids]
    np.testing.assert_allclose(found.logits, alone[order], atol=1e-5)


def test_other_classes_have_to_be_named(tmp_path):
    original(tmp_path / "five", classes=tuple("abcde"))
    said_in_one_line(convert(tmp_path / "five", tmp_path), "5 classes", "--classes")
    said_in_one_line(convert(tmp_path / "five", tmp_path, "--classes", "a,b"), "5 classes", "2 nam")
    assert convert(tmp_path / "five", tmp_path, "--classes", "a,b,c,d,e").returncode == 0


@pytest.mark.parametrize(("under", "prefix"), [
    ("state_dict", "module._orig_mod.model."), ("ema", "backbone."), ("a.b", "model.student.")])
def test_a_checkpoint_is_converted_from_under_any_key_and_prefix_and_says_so(
    under, prefix, tmp_path
):
    model = original(tmp_path / "plain")
    content = {prefix + key: value for key, value in model.net.state_dict().items()}
    for key in reversed(under.split(".")):
        content = {key: content, "epoch": 3}
    torch.save(content, tmp_path / "wrapped.pt")
    done = convert(tmp_path / "wrapped.pt", tmp_path, "--as", "mine.safetensors")
    assert f"read under '{under}', without the prefix '{prefix}'" in done.stdout, done.stderr
    (file,) = (tmp_path / "weights").iterdir()
    assert file.name == "mine.safetensors"
    images = pictures() / 255
    assert torch.equal(load_model(file).net(images), model.net(images))


@pytest.mark.parametrize("fault", ["truncated", "other architecture", "missing", "part", "NaN"])
def test_a_checkpoint_that_does_not_fit_is_one_line_and_writes_nothing(fault, tmp_path):
    path = tmp_path / "file"
    model = original(path)
    if fault == "truncated":
        path.write_bytes(path.read_bytes()[:3000])
    if fault == "other architecture":
        torch.save(tiny(arch="cbam_tiny", classes=SEVEN).net.state_dict(), path)
    if fault == "missing":
        path.unlink()
    if fault == "part":
        state = model.net.state_dict()
        torch.save({key: value for key, value in state.items() if "layer3" not in key}, path)
    if fault == "NaN":
        state = model.net.state_dict()
        next(iter(state.values())).view(-1)[3] = float("nan")
        torch.save(state, path)
    said_in_one_line(convert(path, tmp_path), str(path), "NaN" if fault == "NaN" else "")
    assert not list(tmp_path.glob("weights/*"))


def test_an_unknown_backbone_is_one_line(tmp_path):
    said_in_one_line(launch("weights", "convert", tmp_path / "x", "--backbone", "resnet99"),
                     "resnet99", "resnet18")

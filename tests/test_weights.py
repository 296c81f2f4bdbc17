"""Weights in and out: a model carries its preprocessing; foreign files run no code."""

import collections
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fer.config.backbone import Backbone
from fer.errors import CallerError
from fer.models import registry
from fer.models.checkpoint_import import read_foreign, to_original
from fer.models.weights import (
    describe_weights,
    load_model,
    load_pretrained,
    load_state,
    save_weights,
)

CLASSES = ("negative", "neutral", "positive")
SEVEN = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def tiny(arch="resmasking_tiny", classes=CLASSES, seed=0, **changes):
    torch.manual_seed(seed)
    config = {"name": "tiny", "arch": arch, "input_size": 48, **changes}
    return registry.build(Backbone(**config), classes)


def pictures():
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (4, 3, 48, 48), dtype=torch.uint8, generator=generator)


def equal(model, other, keys=None):
    own, theirs = model.net.state_dict(), other.net.state_dict()
    return all(torch.equal(own[key], theirs[key]) for key in keys or own)


# ----- our own files


def test_a_loaded_model_gives_the_same_logits(tmp_path):
    model = tiny(mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), options={"widths": [8, 8, 16]}).eval()
    save_weights(model, tmp_path / "model.safetensors")
    assert torch.equal(load_model(tmp_path / "model.safetensors")(pictures()), model(pictures()))


def test_a_loaded_model_has_the_same_preprocessing_and_classes(tmp_path):
    model = tiny(mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    save_weights(model, tmp_path / "model.safetensors")
    loaded = load_model(tmp_path / "model.safetensors")
    assert (loaded.backbone, loaded.classes) == (model.backbone, CLASSES)


def test_extra_metadata_travels_along(tmp_path):
    save_weights(tiny(), tmp_path / "model.safetensors", {"run": "abc", "epoch": 3})
    assert describe_weights(tmp_path / "model.safetensors").extra == {"run": "abc", "epoch": 3}


def test_equal_models_give_equal_bytes(tmp_path):
    for name in ("first", "second"):
        save_weights(tiny(), tmp_path / name, {"run": "abc", "epoch": 3})
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_a_channels_last_model_can_be_saved(tmp_path):
    model = tiny().to(memory_format=torch.channels_last)
    save_weights(model, tmp_path / "model.safetensors")
    assert equal(load_model(tmp_path / "model.safetensors"), model)


def test_a_loaded_model_trains(tmp_path):
    save_weights(tiny(), tmp_path / "model.safetensors")
    loaded = load_model(tmp_path / "model.safetensors").train()
    loaded(pictures()).sum().backward()
    assert all(parameter.grad is not None for parameter in loaded.parameters())


@pytest.mark.parametrize("bytes_kept", [0, 7, 200, -1])
def test_a_truncated_file_of_ours_is_refused_in_one_line(tmp_path, bytes_kept):
    save_weights(tiny(), tmp_path / "whole")
    (tmp_path / "part").write_bytes((tmp_path / "whole").read_bytes()[:bytes_kept])
    with pytest.raises(CallerError, match=r"^[^\n]*part: [^\n]+$"):
        load_model(tmp_path / "part")


def test_a_safetensors_file_without_a_description_is_no_model(tmp_path):
    save_file(dict(tiny().net.state_dict()), tmp_path / "bare")
    with pytest.raises(CallerError, match="has no description of its model"):
        load_model(tmp_path / "bare")


@pytest.mark.parametrize("description", ["", "[]", "{}", '{"version": 1, "backbone": {}}'])
def test_a_bad_description_is_refused_in_one_line(tmp_path, description):
    save_file(dict(tiny().net.state_dict()), tmp_path / "odd", {"fer": description})
    with pytest.raises(CallerError, match=r"^[^\n]*odd: bad description[^\n]+$"):
        load_model(tmp_path / "odd")


def test_a_missing_file_is_the_callers_mistake(tmp_path):
    with pytest.raises(CallerError, match="nowhere"):
        load_model(tmp_path / "nowhere")


# ----- starting from other weights


@pytest.mark.parametrize("classes", [SEVEN, CLASSES], ids=len)
def test_a_head_not_kept_starts_anew_and_the_body_is_loaded(classes):
    model, source = tiny(seed=1), tiny(classes=classes, seed=2)
    head = {key: model.net.state_dict()[key].clone() for key in model.head_keys}
    report = load_state(model, source.net.state_dict(), keep_head=False)
    assert equal(model, source, model.net.state_dict().keys() - model.head_keys)
    assert all(torch.equal(model.net.state_dict()[key], old) for key, old in head.items())
    assert report.head_lost and str(report) == "the head was dropped and starts from random weights"


def test_a_kept_head_is_loaded_with_the_body():
    model, source = tiny(seed=1), tiny(seed=2)
    report = load_state(model, source.net.state_dict(), keep_head=True)
    assert equal(model, source) and str(report) == "all tensors loaded"


def test_a_head_of_other_size_cannot_be_kept():
    with pytest.raises(CallerError, match=r"head cannot be kept.*7.*3"):
        load_state(tiny(), tiny(classes=SEVEN).net.state_dict(), keep_head=True)


def test_a_head_with_classes_in_another_order_cannot_be_kept(tmp_path):
    save_weights(tiny(classes=CLASSES[::-1]), tmp_path / "other")
    with pytest.raises(CallerError, match="positive, neutral, negative"):
        load_pretrained(tiny(), tmp_path / "other", keep_head=True)


def test_every_tensor_that_does_not_fit_is_reported():
    state = dict(tiny().net.state_dict())
    state["extra.weight"] = state.pop("bn1.weight")
    state["conv1.weight"] = torch.zeros(8, 3, 5, 5)
    report = load_state(tiny(), state, keep_head=True)
    assert report.missing == ("bn1.weight",)
    assert report.unexpected == ("extra.weight",)
    assert report.reshaped == ("conv1.weight",)


def test_weights_of_another_architecture_are_refused():
    with pytest.raises(CallerError, match=r"another architecture: \d+ of its \d+ tensors fit"):
        load_state(tiny("resmasking_tiny"), tiny("cbam_tiny").net.state_dict(), keep_head=False)


def test_refused_weights_change_nothing():
    model = tiny(seed=1)
    with pytest.raises(CallerError):
        load_state(model, tiny(classes=SEVEN, seed=2).net.state_dict(), keep_head=True)
    assert equal(model, tiny(seed=1))


def test_a_plain_resnet34_is_a_start_for_resmasking():
    with torch.device("meta"):
        model = registry.build(Backbone(name="x", arch="resmasking"), CLASSES)
    trunk = {key: value for key, value in model.net.state_dict().items()
             if not key.startswith("mask")}
    report = load_state(model, trunk, keep_head=False)
    assert report.missing and all(key.startswith("mask") for key in report.missing)


# ----- files that others wrote


def original(model):
    """As the original trainer saved: settings, `net`, metrics that are numpy numbers."""
    return {"arch": "resmasking", "lr": 1e-4, "n_workers": 1, "net": to_original(model),
            "best_val_acc": np.float64(71.5), "train_loss_list": [np.float32(0.5), 0.25],
            "epochs": np.int64(50)}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before-1.6"])
def test_an_original_checkpoint_with_metrics_is_read_without_aliases(tmp_path, zipped):
    model, path = tiny(), tmp_path / "resmasking__n_2021Apr18_23.46"
    torch.save(original(model), path, _use_new_zipfile_serialization=zipped)
    state = read_foreign(path)
    assert list(state) == list(model.net.state_dict())


def test_numpy_numbers_under_their_name_of_2021_are_read(tmp_path):
    torch.save(original(tiny()), tmp_path / "now", _use_new_zipfile_serialization=False)
    content = (tmp_path / "now").read_bytes()
    assert b"numpy._core.multiarray" in content
    old = content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    (tmp_path / "2021").write_bytes(old)
    assert read_foreign(tmp_path / "2021").keys() == tiny().net.state_dict().keys()


def test_prefixes_of_parallel_training_are_dropped(tmp_path):
    state = {f"module.{key}": value for key, value in tiny().net.state_dict().items()}
    torch.save(state, tmp_path / "parallel.pth")
    assert read_foreign(tmp_path / "parallel.pth").keys() == tiny().net.state_dict().keys()


@pytest.mark.parametrize("save", [torch.save, save_file], ids=["torch", "safetensors"])
def test_a_plain_state_dict_starts_a_model(tmp_path, save):
    model, source = tiny(seed=1), tiny(seed=2)
    save(dict(source.net.state_dict()), tmp_path / "weights")
    load_pretrained(model, tmp_path / "weights", keep_head=True)
    assert equal(model, source)


def test_half_precision_weights_are_cast(tmp_path):
    model, source = tiny(seed=1), tiny(seed=2)
    torch.save({k: v.half() for k, v in source.net.state_dict().items()}, tmp_path / "half.pth")
    load_pretrained(model, tmp_path / "half.pth", keep_head=True)
    assert model.net.state_dict()["fc.weight"].dtype == torch.float32


def test_an_alias_that_differs_from_its_tensor_is_refused(tmp_path):
    state = {k: v.clone() for k, v in to_original(tiny()).items()}
    state["mask2.conv1.downsample.0.weight"] += 1
    torch.save({"net": state}, tmp_path / "odd")
    with pytest.raises(CallerError, match="differ, but must be the same tensor"):
        read_foreign(tmp_path / "odd")


class Hostile:
    """Unpickling this creates the file it names."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


class HostileCall(Hostile):
    def __reduce__(self):
        return eval, (f"open({self.path!r}, 'w')",)


def save_zip(content, path):
    torch.save(content, path)


def save_legacy(content, path):
    torch.save(content, path, _use_new_zipfile_serialization=False)


def save_pickle(content, path):
    path.write_bytes(pickle.dumps(content, protocol=2))


@pytest.mark.parametrize("save", [save_zip, save_legacy, save_pickle])
@pytest.mark.parametrize("kind", [Hostile, HostileCall])
def test_a_hostile_checkpoint_runs_nothing(tmp_path, save, kind):
    trace = tmp_path / "was-here"
    save({"net": kind(str(trace))}, tmp_path / "hostile")
    with pytest.raises(CallerError, match=r"^[^\n]*hostile: [^\n]+$"):
        read_foreign(tmp_path / "hostile")
    assert not trace.exists()


def test_the_hostile_checkpoint_of_the_test_does_harm_where_code_is_run(tmp_path):
    trace = tmp_path / "was-here"
    save_zip({"net": Hostile(str(trace))}, tmp_path / "hostile")
    torch.load(tmp_path / "hostile", weights_only=False)
    assert trace.exists()


def test_a_refusal_names_what_was_asked_to_run(tmp_path):
    save_zip(HostileCall("x"), tmp_path / "hostile")
    with pytest.raises(CallerError, match="tries to run 'eval'"):
        read_foreign(tmp_path / "hostile")


@pytest.mark.parametrize("save", [save_zip, save_legacy, save_file])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_checkpoint_is_refused_in_one_line(tmp_path, save, share):
    save(dict(tiny().net.state_dict()), tmp_path / "whole")
    content = (tmp_path / "whole").read_bytes()
    (tmp_path / "part").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CallerError, match=r"^[^\n]*part: [^\n]+$"):
        read_foreign(tmp_path / "part")


@pytest.mark.parametrize("content", [
    {}, [1, 2], torch.zeros(2), {"net": 3}, {"net": {}}, {3: torch.zeros(2), "lr": 1e-3},
    collections.OrderedDict(epoch=3),
], ids=str)
def test_a_checkpoint_without_a_state_dict_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(CallerError, match=r"other.pth: .*state dict"):
        read_foreign(tmp_path / "other.pth")


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("These are not weights.")
    with pytest.raises(CallerError, match="neither a torch checkpoint nor safetensors"):
        load_pretrained(tiny(), tmp_path / "notes.txt")

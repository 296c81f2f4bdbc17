"""Independent implementations agree with the original ones on their own terms."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from fer.config.backbone import Backbone
from fer.models import registry
from fer.models.checkpoint_import import read_foreign, to_original
from fer.models.convert import convert
from fer.models.export import export
from fer.models.weights import load_model, load_state

REFERENCE = json.loads((Path(__file__).parent / "fixtures/reference_logits.json").read_text())
TOLERANCE = 1e-4  # 1e-3 is what another machine may differ by
CLASSES = ("negative", "neutral", "positive")


def filled(entry):
    """Return the weights that the reference logits were made with."""
    return {key: fill(key, shape, index) for index, (key, shape) in enumerate(entry["keys"])}


def fill(key, shape, index):
    s = np.sin(np.arange(math.prod(shape), dtype=np.float64) * 0.37 + index + 1)
    if not shape:
        values = 0 * s
    elif key.endswith("running_var"):
        values = 1 + 0.5 * s * s
    elif key.endswith("running_mean"):
        values = 0.1 * s
    elif len(shape) == 4:
        values = s * math.sqrt(2 / math.prod(shape[1:])) * 1.4
    elif len(shape) == 2:
        values = s * math.sqrt(1 / shape[1]) * 3
    else:
        values = 1 + 0.2 * s if key.endswith("weight") else 0.1 * s
    return torch.from_numpy(values.reshape(shape).astype(np.float32))


def waves():
    image, channel, row, column = np.ogrid[:2, :3, :224, :224]
    phase = column * (0.05 + 0.01 * channel) + row * (0.03 + 0.02 * image) + channel
    return torch.from_numpy((0.5 + 0.5 * np.sin(phase)).astype(np.float32))


@pytest.fixture(params=REFERENCE, ids=lambda entry: entry["arch"], scope="module")
def reference(request):
    return request.param


@pytest.fixture(scope="module")
def model(reference):
    model = registry.build(Backbone(name="reference", arch=reference["arch"]), CLASSES)
    load_state(model, filled(reference), keep_head=True)
    yield model.eval()


def test_the_original_logits_are_reproduced(reference, model):
    with torch.inference_mode():
        logits = model(waves())
    torch.testing.assert_close(logits, torch.tensor(reference["logits"]), rtol=TOLERANCE, atol=0)


def test_state_dict_keys_shapes_and_order_are_the_originals(reference, model):
    found = [[key, list(tensor.shape)] for key, tensor in model.net.state_dict().items()]
    assert found == reference["keys"]


def test_export_writes_every_alias_as_the_tensor_it_stands_for(reference, model):
    original = to_original(model)
    assert original.keys() == {key for key, _ in reference["keys"]} | reference["aliases"].keys()
    for alias, key in reference["aliases"].items():
        assert original[alias].data_ptr() == original[key].data_ptr()


def test_export_puts_an_alias_behind_its_block_as_the_original_does(reference, model):
    keys = list(to_original(model))
    for alias in reference["aliases"]:
        if alias.endswith(".downsample.0.weight"):
            before = keys[keys.index(alias) - 1]
            assert before == alias.replace("downsample.0.weight", "bn2.num_batches_tracked")


def test_export_and_import_return_the_same_weights(tmp_path):
    model = registry.build(Backbone(name="tiny", arch="resmasking_tiny", input_size=48), CLASSES)
    torch.save({"net": to_original(model)}, tmp_path / "original")
    state = read_foreign(tmp_path / "original")
    assert list(state) == list(model.net.state_dict())
    assert all(torch.equal(state[key], own) for key, own in model.net.state_dict().items())


@pytest.mark.slow
def test_the_original_checkpoint_goes_through_convert_and_back_to_its_own_names(
    reference, model, tmp_path
):
    """The whole of both architectures: original file, ours, and the original's names again."""
    torch.save({"net": to_original(model), "best_acc": 71.5}, tmp_path / "original")
    convert(tmp_path / "original", model.backbone, CLASSES, tmp_path / "ours.safetensors")
    ours = load_model(tmp_path / "ours.safetensors")
    with torch.inference_mode():
        logits = ours(waves())
    torch.testing.assert_close(logits, torch.tensor(reference["logits"]), rtol=TOLERANCE, atol=0)
    assert export(ours, tmp_path / "back.pth") < 1e-4
    back = torch.load(tmp_path / "back.pth", weights_only=True)["net"]
    original = to_original(model)
    assert list(back) == list(original)
    assert all(torch.equal(tensor, original[key]) for key, tensor in back.items())

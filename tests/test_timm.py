"""Networks of timm by name: stages, training, weights files, and what goes wrong."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import REPOSITORY, launch
from test_mistakes import said_in_one_line
from test_training import trained

from fer.config import library_models
from fer.config.load import load_backbone, load_run
from fer.config.run import Backbone
from fer.errors import CallerError
from fer.models import registry
from fer.models.weights import load_model, save_weights

CLASSES = ("negative", "neutral", "positive")
TINY = {  # timm's own siblings of the families, for tests
    "test_resnet": ("stem", "stage1", "stage2", "stage3", "head"),
}


def built(arch: str, size: int = 64, **options: object) -> registry.Classifier:
    torch.manual_seed(0)
    return registry.build(Backbone(name="x", arch=f"timm/{arch}", input_size=size,
                                   options=options), CLASSES)


@pytest.mark.parametrize("arch", TINY)
def test_a_network_trains_and_comes_back_from_our_file_with_equal_logits(
    arch: str, tmp_path: Path
) -> None:
    model = built(arch)
    images = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    F.cross_entropy(model(images), torch.tensor([0, 2, 1, 0])).backward()
    torch.optim.SGD(model.parameters(), lr=1e-3).step()
    save_weights(model, tmp_path / "w.safetensors")
    again = load_model(tmp_path / "w.safetensors")
    with torch.no_grad():
        assert torch.equal(again(images), model.eval()(images))


def test_a_timm_run_trains_on_toy_faces(places: Path) -> None:
    folder = trained(("lfw/eval",), backbone="timm/test_resnet", recipe="scratch",
                     **{"backbone.input_size": 48, "train.epochs": 1})
    assert folder.name.startswith("timm-test_resnet-scratch-lfw-s0-")
    assert 0 <= json.loads(folder.result("lfw/eval").read_text())["uar"] <= 1

"""Backbones by name: every YAML builds, every full-size one takes a real training step."""

import gc
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import yaml

from fer.config.schema import Backbone
from fer.errors import CallerError
from fer.models import registry

FOLDER = Path(__file__).parent.parent / "configs/backbones"
FILES = sorted(FOLDER.glob("*.yaml"))
CLASSES = ("negative", "neutral", "positive")


def backbone(name, **changes):
    return Backbone(**{**yaml.safe_load((FOLDER / f"{name}.yaml").read_text()), **changes})


def build_without_memory(config):
    with torch.device("meta"):
        return registry.build(config, CLASSES)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_backbone_file_is_named_after_its_backbone_and_builds(file):
    config = backbone(file.stem)
    assert config.name == file.stem
    assert list(build_without_memory(config).stages)[-1] == "head"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_all_backbones_share_the_names_of_outer_stages(file):
    names = registry.stage_names(backbone(file.stem))
    assert names[:2] == ("stem", "stage1") and names[-1] == "head"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_head_ends_in_a_layer_with_one_output_a_class(file):
    model = build_without_memory(backbone(file.stem))
    layers = [m for module in model.stages["head"] for m in module.modules()]
    assert [m.out_features for m in layers if isinstance(m, torch.nn.Linear)] == [3]


def test_hidden_layers_in_front_of_the_class_layer_are_the_neck():
    model = build_without_memory(backbone("vgg19"))
    assert [name for name, _ in model.stage_parameters("neck")] == [
        "output.fc1.fc.weight", "output.fc1.fc.bias", "output.fc2.fc.weight", "output.fc2.fc.bias"]


@pytest.mark.parametrize("name", ["resmasking_dropout1", "cbam_resnet50", "vgg19", "mobilenet_w1"])
def test_a_full_size_backbone_takes_a_training_step_at_224_pixels(name):
    torch.manual_seed(0)
    model = registry.build(backbone(name), CLASSES)
    images = torch.randint(0, 256, (2, 3, 224, 224), dtype=torch.uint8)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    before = {stage: next(model.stage_parameters(stage))[1].detach().clone()
              for stage in model.stages}
    F.cross_entropy(model(images), torch.tensor([0, 2])).backward()
    optimizer.step()
    moved = {stage for stage, old in before.items()
             if not torch.equal(old, next(model.stage_parameters(stage))[1])}
    del model, optimizer, before
    gc.collect()
    assert moved == set(registry.stage_names(backbone(name)))


@pytest.mark.parametrize("name", ["vgg19", "mobilenet_w1", "cbam_resnet50", "resmasking"])
def test_a_full_size_backbone_takes_other_input_sizes(name):
    model = build_without_memory(backbone(name, input_size=96))
    images = torch.empty(2, 3, 96, 96, device="meta")
    assert model.net(images).shape == (2, 3)


@pytest.mark.parametrize("arch, size", [("resmasking", 100), ("resmasking_tiny", 50),
                                        ("vgg19", 16)])
def test_an_input_size_that_does_not_fit_is_refused(arch, size):
    with pytest.raises(CallerError, match=f"input_size {size}"):
        build_without_memory(Backbone(name="x", arch=arch, input_size=size))


def test_an_unknown_architecture_is_refused_with_the_known_ones():
    with pytest.raises(CallerError, match=r"'resnet99'.*cbam_resnet50.*resmasking_tiny.*vgg19"):
        registry.build(Backbone(name="x", arch="resnet99"), CLASSES)


def test_an_unknown_option_is_refused_with_the_valid_ones():
    config = Backbone(name="x", arch="resmasking_tiny", options={"width": 3})
    with pytest.raises(CallerError, match=r"'width'.*blocks, growth, mask_depths, widths"):
        registry.build(config, CLASSES)


def test_what_build_fills_in_is_not_an_option():
    config = Backbone(name="x", arch="resmasking", options={"num_classes": 3})
    with pytest.raises(CallerError, match=r"no option 'num_classes'; it has: none"):
        registry.build(config, CLASSES)


def test_options_of_different_lengths_are_refused():
    config = Backbone(name="x", arch="resmasking_tiny", input_size=48, options={"widths": [8]})
    with pytest.raises(CallerError, match="differ in length"):
        registry.build(config, CLASSES)


def test_looking_up_architectures_does_not_import_pytorchcv():
    code = ("import sys; from fer.models import registry; names = registry.names();"
            "print('vgg19' in names, 'pytorchcv' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", code], cwd=FOLDER.parent.parent, check=True,
                          capture_output=True, text=True)
    assert done.stdout.strip() == "True False"

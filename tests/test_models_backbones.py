"""Backbones by name: every YAML builds, every full-size one takes a real training step."""

import gc
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import yaml
from conftest import launch

from fer.config.backbone import Backbone
from fer.config.blocks import load_backbone
from fer.config.load import load_run
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
    assert [m.weight.shape[0] for m in layers
            if isinstance(m, torch.nn.Linear | torch.nn.Conv2d)] == [3]


def test_hidden_layers_in_front_of_the_class_layer_are_the_neck():
    model = build_without_memory(backbone("vgg19"))
    assert [name for name, _ in model.stage_parameters("neck")] == [
        "output.fc1.fc.weight", "output.fc1.fc.bias", "output.fc2.fc.weight", "output.fc2.fc.bias"]


LARGER_THAN_A_TEST = "resmasking50_dropout1"  # 1.9 billion parameters: 15 GB with its gradients
FULL_SIZE = [file.stem for file in FILES if not file.stem.endswith("_tiny")
             and file.stem not in (LARGER_THAN_A_TEST, "resmasking")]  # as its dropout siblings


@pytest.mark.slow
@pytest.mark.parametrize("name", FULL_SIZE)
def test_a_full_size_backbone_takes_a_training_step_at_its_size(name):
    torch.manual_seed(0)
    model = registry.build(backbone(name), CLASSES)
    side = model.backbone.input_size
    images = torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8)
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


def test_the_largest_backbone_goes_forward_and_back_without_memory():
    model = build_without_memory(backbone(LARGER_THAN_A_TEST))
    logits = model.net(torch.empty(2, 3, 224, 224, device="meta"))
    logits.sum().backward()
    assert logits.shape == (2, 3) and all(p.grad is not None for p in model.parameters())
    assert 1.8e9 < sum(p.numel() for p in model.parameters()) < 2e9


@pytest.mark.parametrize("name", [name for name in FULL_SIZE if name != "resattnet56"])
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


def test_looking_up_architectures_does_not_import_pytorchcv_or_timm():
    code = ("import sys; from fer.models import registry; names = registry.names();"
            "import fer.commands.weights;"
            "print('vgg19' in names, 'pytorchcv' in sys.modules or 'timm' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", code], cwd=FOLDER.parent.parent, check=True,
                          capture_output=True, text=True)
    assert done.stdout.strip() == "True False"


def test_the_list_of_backbones_that_were_looked_at_needs_no_torch(places: Path) -> None:
    assert launch("weights", "list", "cbam_tiny").returncode == 0
    code = ("import sys; from fer.commands.weights import entries; from fer.config.paths import "
            "cache; (one,) = entries(cache(), ['cbam_tiny']);"
            "print(one.parameters, list(one.batch_norms), 'torch' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", code], cwd=FOLDER.parent.parent, check=True,
                          capture_output=True, text=True)
    model = registry.build(load_backbone("cbam_tiny"), CLASSES)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert done.stdout.strip() == f"{parameters} {list(model.stages)} False"


TORCHVISION = {
    "resnet18": ("stem", "stage1", "stage2", "stage3", "stage4", "head"),
    "densenet121": ("stem", "stage1", "stage2", "stage3", "stage4", "head"),
    "efficientnet_b0": ("stem", "stage1", "stage2", "stage3", "stage4", "head"),
    "vgg11": ("stem", "stage1", "stage2", "stage3", "stage4", "neck", "head"),
    "convnext_tiny": ("stem", "stage1", "stage2", "stage3", "neck", "head"),
    "swin_t": ("stem", "stage1", "stage2", "stage3", "head"),
    "squeezenet1_1": ("stem", "stage1", "stage2", "stage3", "head"),
    "regnet_x_400mf": ("stem", "stage1", "stage2", "stage3", "stage4", "head"),
    "vit_b_16": ("stem", "stage1", "stage2", "stage3", "stage4", "head"),
    "maxvit_t": ("stem", "stage1", "stage2", "stage3", "stage4", "neck", "head"),
}


@pytest.mark.parametrize("model", TORCHVISION)
def test_any_torchvision_classifier_has_a_stage_a_resolution(model):
    config = Backbone(name="x", arch=f"torchvision/{model}")
    assert registry.stage_names(config) == TORCHVISION[model]
    made = build_without_memory(config)
    assert made.net(torch.empty(2, 3, 224, 224, device="meta")).shape == (2, 3)


def test_stages_of_torchvision_are_in_order_and_hold_what_their_names_say():
    made = build_without_memory(Backbone(name="x", arch="torchvision/resnet18"))
    starts = {stage: {name.split(".")[0] for name, _ in made.stage_parameters(stage)}
              for stage in made.stages}
    assert starts == {"stem": {"conv1", "bn1"}, "head": {"fc"},
                      **{f"stage{number}": {f"layer{number}"} for number in range(1, 5)}}


def test_a_torchvision_classifier_takes_a_training_step_and_keeps_its_weights():
    torch.manual_seed(0)
    model = registry.build(Backbone(name="x", arch="torchvision/resnet18", input_size=64), CLASSES)
    assert not any(tensor.is_meta for tensor in model.state_dict().values())
    assert model.training
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    F.cross_entropy(model(images), torch.tensor([0, 2])).backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())


def test_a_vit_has_four_quarters_and_its_embeddings_freeze_with_the_stem():
    torch.manual_seed(0)
    config = Backbone(name="x", arch="torchvision/vit_b_32", input_size=64)
    model = registry.build(config, CLASSES)
    blocks = [{name.split(".")[2] for name, _ in model.stage_parameters(f"stage{number}")
               if "encoder_layer" in name} for number in range(1, 5)]
    assert [len(quarter) for quarter in blocks] == [3, 3, 3, 3]
    stem = {name for name, _ in model.stage_parameters("stem")}
    assert stem == {"conv_proj.weight", "conv_proj.bias", "class_token", "encoder.pos_embedding"}
    model.freeze(["stem", "stage1"], batch_norm=False)
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    model.train()
    F.cross_entropy(model(images), torch.tensor([0, 2])).backward()
    without = {name for name, parameter in model.net.named_parameters() if parameter.grad is None}
    assert without == stem | {name for name, _ in model.stage_parameters("stage1")}
    model.eval()
    with torch.no_grad():
        model.head.weight.normal_()  # torchvision's are zero
        assert torch.allclose(model.classify(model.features(images)), model(images), atol=1e-5)


def test_a_maxvit_takes_the_size_that_it_was_made_for():
    config = Backbone(name="x", arch="torchvision/maxvit_t", input_size=448)
    assert registry.stage_names(config) == TORCHVISION["maxvit_t"]


@pytest.mark.parametrize(("model", "size"), [("vit_b_16", 100), ("maxvit_t", 100)])
def test_a_size_that_a_transformer_cannot_divide_is_one_line(model, size):
    with pytest.raises(CallerError, match=f"{model}.*100 px"):
        build_without_memory(Backbone(name="x", arch=f"torchvision/{model}", input_size=size))


def test_any_pytorchcv_classifier_is_built_by_its_name():
    config = Backbone(name="x", arch="pytorchcv/preresnet18", input_size=96)
    model = build_without_memory(config)
    assert model.net(torch.empty(2, 3, 96, 96, device="meta")).shape == (2, 3)


@pytest.mark.parametrize(("arch", "said"), [
    ("pytorchcv/resnet19", "no model 'resnet19'"), ("torchvision/resnet19", "resnet18"),
    ("keras/resnet18", "pytorchcv, timm, torchvision"),
    ("pytorchcv/fcn8sd_resnetd50b_voc", "not an image classifier")])
def test_a_library_model_that_cannot_be_used_is_one_line(arch, said):
    with pytest.raises(CallerError, match=said) as refused:
        build_without_memory(Backbone(name="x", arch=arch))
    assert "\n" not in str(refused.value)


def test_a_backbone_is_named_by_library_and_model_in_a_configuration():
    config = load_run("configs/drawn.yaml", {"backbone": "torchvision/resnet18"})
    assert config.backbone.name == "torchvision-resnet18"
    assert config.backbone.mean[0] == pytest.approx(0.485)


def test_the_list_has_every_backbone_with_its_weights(tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/vgg19.pth").write_bytes(b"weights")
    done = launch("weights", "list", FER_CACHE=str(tmp_path), COLUMNS="200")
    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert lines.keys() >= {file.stem for file in FILES}
    assert "vgg19.pth there" in lines["vgg19"] and "139.6 M" in lines["vgg19"]
    assert "cbam_resnet50.pth missing" in lines["cbam_resnet50"]
    assert "stage1(13)" in lines["cbam_resnet50"]

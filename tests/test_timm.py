"""Networks of timm by name: stages, training, weights files, and what goes wrong."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from conftest import REPOSITORY, TOY, launch
from safetensors.torch import save_file
from test_mistakes import said_in_one_line
from test_training import trained
from torchvision import models

from fer.config import library_models
from fer.config.backbone import Backbone
from fer.config.blocks import IMAGENET_MEAN, IMAGENET_STD, load_backbone
from fer.config.load import load_run
from fer.config.paths import cache
from fer.config.weights_file import weights_path
from fer.errors import CallerError
from fer.models import registry
from fer.models.classifier import Classifier
from fer.models.timm_networks import translated
from fer.models.weights import load_model, save_weights
from fer.report.read.provenance import initial_weights
from fer.report.read.report_cache import ReportCache

CLASSES = ("negative", "neutral", "positive")
STAGES = ("stem", "stage1", "stage2", "stage3", "stage4")  # of every family
WITH_NECK, WITHOUT = (*STAGES, "neck", "head"), (*STAGES, "head")
TINY = {  # timm's own siblings of the families, for tests
    "test_resnet": WITHOUT, "test_efficientnet": WITH_NECK, "test_vit": WITH_NECK,
    "test_convnext": WITH_NECK, "test_maxvit": WITH_NECK,
}
FAMILIES = {  # name: (input size, stages); the smallest ones of ten families
    "resnet18": (64, WITHOUT), "efficientnet_b0": (64, WITH_NECK),
    "mobilenetv4_conv_small": (64, WITH_NECK), "convnext_atto": (64, WITH_NECK),
    "vit_tiny_patch16_224": (96, WITH_NECK),
    "vit_small_patch14_dinov2": (98, WITH_NECK),  # 96 is no multiple of its patches
    "vit_small_patch16_dinov3": (96, WITH_NECK), "swin_tiny_patch4_window7_224": (96, WITH_NECK),
    "caformer_s18": (64, WITH_NECK), "maxvit_nano_rw_256": (96, WITH_NECK),
}
LARGE = {"vit_base_patch16_siglip_224": (96, WITH_NECK)}


def built(arch: str, size: int = 64, **options: Any) -> Classifier:
    torch.manual_seed(0)
    return registry.build(Backbone(name="x", arch=f"timm/{arch}", input_size=size,
                                   options=options), CLASSES)


def comes_back(model: Classifier, folder: Path) -> None:
    """Take a training step, save and load the model: equal logits, in every stage a change."""
    side = model.backbone.input_size
    images = torch.randint(0, 256, (4, 3, side, side), dtype=torch.uint8)
    before = [parameter.detach().clone() for parameter in model.net.parameters()]
    F.cross_entropy(model(images), torch.tensor([0, 2, 1, 0])).backward()
    torch.optim.SGD(model.parameters(), lr=1e-3).step()
    assert any(not torch.equal(*pair) for pair in zip(before, model.net.parameters(), strict=True))
    save_weights(model, folder / "w.safetensors")
    again = load_model(folder / "w.safetensors")
    model.eval()
    kept = again.net.state_dict()
    assert all(torch.equal(kept[key], one) for key, one in model.net.state_dict().items())
    with torch.no_grad():  # convolutions round by where tensors lie in memory
        logits = model(images)
        rounding = 1e-5 * float(logits.abs().max())
        assert torch.allclose(again(images), logits, rtol=0, atol=rounding)
        assert torch.allclose(model.classify(model.features(images)), logits, rtol=0, atol=rounding)


# ----- networks


@pytest.mark.parametrize("arch", TINY)
def test_a_tiny_network_has_its_stages_trains_and_comes_back_from_our_file(
    arch: str, tmp_path: Path
) -> None:
    model = built(arch)
    assert tuple(model.stages) == TINY[arch]
    comes_back(model, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("arch", FAMILIES)
def test_a_family_has_its_stages_trains_and_comes_back_from_our_file(
    arch: str, tmp_path: Path
) -> None:
    size, stages = FAMILIES[arch]
    model = built(arch, size)
    assert tuple(model.stages) == stages
    comes_back(model, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("arch", LARGE)
def test_a_large_network_goes_forward_and_back_without_memory(arch: str) -> None:
    size, stages = LARGE[arch]
    with torch.device("meta"):
        model = built(arch, size)
        logits = model.net(torch.empty(2, 3, size, size))
        logits.sum().backward()
    assert tuple(model.stages) == stages and logits.shape == (2, 3)
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("size", [32, 224])
@pytest.mark.parametrize("arch", ["swin_tiny_patch4_window7_224", "caformer_s18"])
def test_the_stages_do_not_depend_on_the_input_size(arch: str, size: int) -> None:
    with torch.device("meta"):
        assert tuple(built(arch, size).stages) == FAMILIES[arch][1]


def test_a_vit_is_cut_into_four_groups_of_blocks() -> None:
    with torch.device("meta"):
        model = built("vit_tiny_patch16_224")
    blocks = [sorted({name.split(".")[1] for name, _ in model.stage_parameters(f"stage{number}")
                      if name.startswith("blocks.")}, key=int) for number in range(1, 5)]
    assert blocks == [["0", "1", "2"], ["3", "4", "5"], ["6", "7", "8"], ["9", "10", "11"]]
    assert {name.split(".")[0] for name, _ in model.stage_parameters("stem")} == {
        "cls_token", "pos_embed", "patch_embed"}
    assert [name for name, _ in model.stage_parameters("neck")] == ["norm.weight", "norm.bias"]


def test_weights_of_another_size_are_adapted_as_timm_does() -> None:
    source, target = built("test_vit", 64), built("test_vit", 96)
    found = translated(target.net, source.net.state_dict())
    assert found is not None and found["pos_embed"].shape == target.net.pos_embed.shape
    target.net.load_state_dict(found)
    plain = registry.build(load_backbone("resmasking_tiny"), CLASSES).net
    assert translated(plain, plain.state_dict()) is None


# ----- names and weights


def test_a_name_brings_the_preprocessing_licence_and_source_of_its_weights() -> None:
    found = load_backbone("timm/vit_small_patch14_dinov2")
    assert (found.arch, found.input_size) == ("timm/vit_small_patch14_dinov2", 518)
    assert found.pretrained is not None
    assert found.pretrained.file == "hf:timm/vit_small_patch14_dinov2.lvd142m"
    assert found.pretrained.licence == "apache-2.0" and found.pretrained.origin
    named = load_backbone("timm/vit_base_patch16_clip_224.openai")
    assert named.name == "timm-vit_base_patch16_clip_224.openai"
    assert named.arch == "timm/vit_base_patch16_clip_224"
    assert named.mean[0] == pytest.approx(0.48145466)  # CLIP's, not ImageNet's


@pytest.mark.parametrize(("weights", "size", "file"), [
    ("resnet50.IMAGENET1K_V2", 224, "resnet50-11ad3fa6.pth"),
    ("vit_b_16.IMAGENET1K_SWAG_E2E_V1", 384, "vit_b_16_swag-9ac1b537.pth")])
def test_torchvisions_other_weights_are_named_too(weights: str, size: int, file: str) -> None:
    found = load_backbone(f"torchvision/{weights}")
    assert found.arch == f"torchvision/{weights.partition('.')[0]}" and found.input_size == size
    assert found.pretrained is not None and str(found.pretrained.file).endswith(f"/{file}")
    assert load_backbone("torchvision/resnet50").pretrained.file == "torchvision-resnet50.pth"


@pytest.mark.parametrize("name", ["googlenet", "googlenet.IMAGENET1K_V1",
                                  "inception_v3.IMAGENET1K_V1"])
def test_networks_that_undo_imagenets_statistics_within_are_given_what_they_see(name: str) -> None:
    """As torchvision's builders do where they load weights: `transform_input`."""
    found = load_backbone(f"torchvision/{name}")
    assert found.mean == found.std == (0.5, 0.5, 0.5)
    net = models.get_model(name.partition(".")[0], weights=None, transform_input=True,
                           aux_logits=False, init_weights=False)
    pictures = torch.rand(2, 3, 8, 8)
    mean, std = (torch.tensor(one).view(3, 1, 1) for one in (IMAGENET_MEAN, IMAGENET_STD))
    within = net._transform_input((pictures - mean) / std)
    torch.testing.assert_close((pictures - 0.5) / 0.5, within)


def test_every_published_weight_of_both_libraries_makes_a_backbone() -> None:
    count = 0
    for library, networks in library_models.catalogue().items():
        for arch in networks:
            for name in library_models.weights_of(f"{library}/{arch}"):
                assert load_backbone(name).pretrained is not None
                count += 1
    assert count > 1800


@pytest.mark.parametrize(("name", "said"), [
    ("timm/resnet51", "similar: resnet"), ("timm/", "names no model"),
    ("timm/resnet18.a9_in1k", "has no weights 'a9_in1k'; there are: a1_in1k"),
    ("timm/resnet18.", "has no weights ''"), ("timm/\x1b[2J", "no model '\\x1b[2J'"),
    ("timm/hf_hub:", "not timm/hf_hub:ORG/NAME"), ("timm/hf_hub:name", "not timm/hf_hub:ORG/NAME"),
    ("timm/hf_hub:../x", "not timm/hf_hub:ORG/NAME"),
    ("torchvision/resnet50.IMAGENET1K_V3", "there are: IMAGENET1K_V1, IMAGENET1K_V2"),
    ("torchvision/resnet51.IMAGENET1K_V1", "similar: resnet")])
def test_a_name_that_there_is_not_is_one_line_with_the_nearest(name: str, said: str) -> None:
    with pytest.raises(CallerError) as refused:
        load_backbone(name)
    assert said in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(("arch", "size", "said"), [
    ("vit_tiny_patch16_224", 100, "multiples of 16 px, such as 96 and 112"),
    ("vit_small_patch14_dinov2", 96, "multiples of 14 px, such as 84 and 98"),
    ("crossvit_9_240", 240, "2 class layers"), ("coat_tiny", 224, "shares layers"),
    ("resnet51", 64, "similar: resnet"),
    ("hf_hub:org/name", 64, "no model"), ("swin_tiny_patch4_window7_224", 50, "multiples of 4 px"),
    ("mobilenetv5_300m_enc", 64, "not an image classifier")])
def test_a_network_that_cannot_be_built_is_one_line(arch: str, size: int, said: str) -> None:
    with pytest.raises(CallerError, match=said) as refused, torch.device("meta"):
        built(arch, size)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("option", ["pretrained", "checkpoint_path", "img_size", "nothing"])
def test_an_option_that_leads_to_files_or_that_there_is_not_is_refused(option: str) -> None:
    with pytest.raises(CallerError, match=f"no option '{option}'; it has: .*drop_path_rate"):
        built("test_vit", **{option: True})


# ----- runs and planning


def test_a_run_trains_on_toy_faces(places: Path) -> None:
    folder = trained(("lfw/eval",), backbone="timm/test_resnet", recipe="scratch",
                     **{"backbone.input_size": 48, "train.epochs": 1})
    assert folder.name.startswith("timm-test_resnet-scratch-lfw-s0-")
    assert 0 <= json.loads(folder.result("lfw/eval").read_text())["uar"] <= 1
    assert "timm" in json.loads((folder.path / "env.json").read_text())["packages"]


def test_a_run_from_published_weights_of_another_size_names_their_licence(places: Path) -> None:
    file = weights_path(cache(), "hf:timm/test_vit.r160_in1k")
    file.parent.mkdir(parents=True)
    published = timm.create_model("test_vit", num_classes=1000)  # at 160 px
    save_file(published.state_dict(), file)
    folder = trained(backbone="timm/test_vit", recipe="llrd_blocks", **{
        "backbone.input_size": 48, "train.epochs": 1, "recipe.phases": [
            {"name": "all", "decay": 0.75, "decay_by": "block"}]})
    assert any("starts from hf:timm/test_vit" in note for note in folder.status().notes)
    run: Any = SimpleNamespace(folder=folder.path, config_id="1")
    assert initial_weights([run], ReportCache(places)) == (
        "hf:timm/test_vit.r160_in1k (licence: apache-2.0, "
        "https://huggingface.co/timm/test_vit.r160_in1k)",)


@pytest.mark.slow
@pytest.mark.real_python
def test_the_login_node_looks_names_up_without_timm_or_torch(tmp_path: Path) -> None:
    code = ("import sys; from fer.config.blocks import load_backbone as b; "
            "print(b('timm/resnet18').pretrained.file); "
            "sys.exit('timm' in sys.modules or 'torch' in sys.modules)")
    for _ in range(2):  # the second time from the record
        done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, text=True,
                              capture_output=True, env={"FER_CACHE": str(tmp_path),
                                                        "PATH": "/usr/bin:/bin"})
        assert (done.returncode, done.stdout) == (0, "hf:timm/resnet18.a1_in1k\n"), done.stderr
        assert (tmp_path / library_models.RECORD).is_file()


def test_a_torn_catalogue_is_made_again(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {"timm": {"resnet18": {}}, "torchvision": {}}
    made = subprocess.CompletedProcess([], 0, json.dumps(kept), "")
    modules = {name: one for name, one in sys.modules.items() if name != "torch"}
    monkeypatch.setattr(library_models.subprocess, "run", lambda *_, **__: made)
    record = cache() / library_models.RECORD
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text('{"key": ')
    monkeypatch.setattr(library_models.sys, "modules", modules)
    assert library_models._catalogue.__wrapped__(record, "k") == kept
    assert json.loads(record.read_text()) == {"key": "k", "libraries": kept}
    broken = subprocess.CompletedProcess([], 1, "", "Traceback\nImportError: no timm")
    monkeypatch.setattr(library_models.subprocess, "run", lambda *_, **__: broken)
    with pytest.raises(CallerError, match="cannot be listed: ImportError: no timm"):
        library_models._catalogue.__wrapped__(record, "another")


@pytest.mark.slow
def test_a_study_is_planned_with_its_weights_missing_and_refused_with_a_wrong_name(
    places: Path, toy_study: Any
) -> None:
    study = toy_study({"backbone": ["timm/test_vit"]}, set={
        **{key: value for key, value in TOY.items() if key != "backbone"},
        "backbone.input_size": 48, "recipe": "imagenet_full"})
    said_in_one_line(launch("sweep", study, "--dry-run"), "pretrained weights are missing",
                     "launch/weights.py fetch")
    said_in_one_line(launch("sweep", study, "--dry-run", "grid.backbone=[timm/resnet51]"),
                     "timm has no model 'resnet51'; similar: resnet")


@pytest.mark.slow
def test_the_list_shows_licence_source_and_other_weights(tmp_path: Path) -> None:
    done = launch("weights", "list", "timm/test_vit", FER_CACHE=str(tmp_path), COLUMNS="200")
    assert "licence apache-2.0; from https://huggingface.co/timm/test_vit.r160_in1k" in done.stdout
    assert "hf:timm/test_vit.r160_in1k missing" in done.stdout
    said_in_one_line(launch("weights", "list", "timm/resnet51"), "similar: resnet")


def test_a_configuration_takes_an_option_of_timm() -> None:
    config = load_run("configs/drawn.yaml", {"backbone": "timm/test_vit", "recipe": "llrd_blocks",
                                             "backbone.input_size": 48})
    assert config.backbone.options == {"drop_path_rate": 0.1}
    model = registry.build(config.backbone, CLASSES)
    rates = [module.drop_prob for module in model.net.modules()
             if type(module).__name__ == "DropPath"]
    assert max(rates) == pytest.approx(0.1)
